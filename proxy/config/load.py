"""A directory of YAML files to validated documents; every mistake of every file at once.

Rules of this file: a missing directory or file means the built-in one; a broken file means none of them is used. The
documents keep `${NAME}` as written, so that a snapshot of them holds no key that the environment holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from proxy.config.agreement import alerts_findings, limits_findings, prices_findings, providers_findings
from proxy.config.anonymous import anonymous_findings
from proxy.config.mistakes import ConfigErrors, Finding, Mistake
from proxy.config.schema import FILES, schema_text
from proxy.config.validate import validate
from proxy.config.yaml_text import YamlMistakes, place, read_yaml
from proxy.errors import ConfigError
from proxy.rules import Settings

ENCODING = "utf-8"


@dataclass(frozen=True)
class Documents:
    """Every file in its canonical form: JSON values only, names as in the YAML."""

    providers: dict[str, Any]
    limits: dict[str, Any]
    prices: dict[str, Any]
    server: dict[str, Any]
    alerts: dict[str, Any] = field(default_factory=dict)
    version: str = field(default="", compare=False)
    """Hash of them all."""

    def as_dict(self) -> dict[str, Any]:
        """The documents as they stand in a snapshot."""
        return {
            "providers": self.providers,
            "limits": self.limits,
            "prices": self.prices,
            "alerts": self.alerts,
            "server": self.server,
        }

    def settings(self) -> Settings:
        """server.yaml, defaults filled in."""
        return settings_from(self.server)


_SETTINGS = frozenset(setting.name for setting in fields(Settings))


def settings_from(server: Mapping[str, Any]) -> Settings:
    """Settings from server.yaml's canonical form; a name of another release in a snapshot is left out."""
    return Settings(**{name: value for name, value in server.items() if name in _SETTINGS})


def builtin_directory() -> Path:
    """The shipped defaults: inside the installed package, else `config/` of the source tree."""
    packaged = Path(__file__).parent / "builtin"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "config"


def load(directory: Path | None, environ: Mapping[str, str]) -> Documents:
    """Read and validate a configuration directory.

    Args:
        directory: None or a missing one: the built-in defaults.
        environ: what `${NAME}` stands for. Only checked here; read again by `build_rules`.

    Raises:
        ConfigErrors: everything that is wrong, with places.
    """
    builtin = builtin_directory()
    mistakes: list[Mistake] = []
    if directory is not None and directory.is_dir():
        mistakes += _misnamed(directory)
    elif directory is not None and directory.exists():
        raise ConfigErrors(
            [Mistake(str(directory), 1, 1, "is a file; name the directory that holds providers.yaml and limits.yaml")]
        )
    texts: dict[str, tuple[str, bytes]] = {}
    for name in FILES:
        path = directory / name if directory is not None else builtin / name
        if not path.exists():
            path = builtin / name
        try:
            texts[name] = (str(path), path.read_bytes())
        except OSError as error:
            mistakes.append(Mistake(str(path), 1, 1, f"cannot be read: {error.strerror}; correct its permissions, or remove it"))
    return _read_all(texts, environ, mistakes)


def load_texts(texts: Mapping[str, str], environ: Mapping[str, str]) -> Documents:
    """The same for texts by file name, missing ones empty (`providers.yaml`: built in). For tests and for the demo."""
    whole = {name: (name, text.encode(ENCODING)) for name, text in texts.items()}
    if "providers.yaml" not in whole:
        whole["providers.yaml"] = ("providers.yaml", (builtin_directory() / "providers.yaml").read_bytes())
    return _read_all(whole, environ, [])


def check(directory: Path | None, environ: Mapping[str, str]) -> list[Mistake]:
    """Every mistake of a configuration directory, in reading order; empty where all is well."""
    try:
        load(directory, environ)
    except ConfigErrors as errors:
        return list(errors.mistakes)
    return []


def init(directory: Path) -> list[Path]:
    """Write the built-in files out for editing, and their JSON Schemas for the editor.

    Raises:
        ConfigError: a file of that name is there already; nothing is written then.
    """
    builtin = builtin_directory()
    present = [name for name in FILES if (directory / name).exists()]
    if present:
        raise ConfigError(f"{directory / present[0]} is there already; name another directory, or remove it first")
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(builtin / name, directory / name)
    return [directory / name for name in FILES] + write_schemas(directory / "schema")


def write_schemas(directory: Path) -> list[Path]:
    """Write the JSON Schema of each file, which editors find by the first line of the built-in ones."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name in FILES:
        path = directory / f"{name.removesuffix('.yaml')}.schema.json"
        path.write_text(schema_text(name), encoding=ENCODING)
        written.append(path)
    return written


def _misnamed(directory: Path) -> list[Mistake]:
    """`limit.yaml` and `limits.yml` would be ignored, and with them every limit in them."""
    mistakes = []
    for path in sorted(directory.iterdir()):
        if path.name in FILES or path.suffix not in (".yaml", ".yml"):
            continue
        meant = get_close_matches(path.stem + ".yaml", FILES, n=1, cutoff=0.85)
        if meant:
            mistakes.append(Mistake(str(path), 1, 1, f"a file of this name is not read; rename it to {meant[0]}, or remove it"))
    return mistakes


def _read_all(texts: Mapping[str, tuple[str, bytes]], environ: Mapping[str, str], mistakes: list[Mistake]) -> Documents:
    documents: dict[str, dict[str, Any]] = {name: {} for name in FILES}
    for name in FILES:
        if name in texts:
            path, content = texts[name]
            documents[name], found = _read_one(name, path, content, documents, environ)
            mistakes += found
    if mistakes:
        raise ConfigErrors(mistakes)
    plain = {name.removesuffix(".yaml"): document for name, document in documents.items()}
    version = sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return Documents(**plain, version=version)


def _read_one(
    name: str, path: str, content: bytes, earlier: Mapping[str, dict[str, Any]], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[Mistake]]:
    """One file's document, or what is wrong with it. Files are read in the order of FILES: prices look at providers."""
    try:
        text = content.decode(ENCODING).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        return {}, [Mistake(path, line, column, "is not UTF-8; save the file as UTF-8")]
    try:
        document, findings = validate(FILES[name], read_yaml(text, path))
    except YamlMistakes as errors:
        return {}, errors.mistakes
    if not findings:
        findings = _agreement(name, document, earlier, environ)
    return ({}, place(text, path, findings)) if findings else (document, [])


def _agreement(
    name: str, document: dict[str, Any], earlier: Mapping[str, dict[str, Any]], environ: Mapping[str, str]
) -> list[Finding]:
    if name == "providers.yaml":
        return providers_findings(document, environ)
    if name == "limits.yaml":
        return limits_findings(document)
    if name == "server.yaml":
        return anonymous_findings(document, environ)
    if name == "alerts.yaml":
        return alerts_findings(document, environ)
    if name == "prices.yaml" and earlier["providers.yaml"]:
        return prices_findings(document, earlier["providers.yaml"]["providers"])
    return []
