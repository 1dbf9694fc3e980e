# Weighbridge as an image: a virtual environment made from the hashed lock, and nothing else.
#
#   docker build -t weighbridge .
#   docker run --read-only --tmpfs /tmp -p 8080:8080 -v weighbridge:/var/lib/weighbridge -v ./config:/srv/weighbridge/config:ro weighbridge
#
# Works with a read-only root and any user id that may write the volume. Configuration: ./config of the working directory,
# else the built-in defaults.

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# What builds the package, in an environment of its own that stays behind; hashed as well.
COPY deploy/build.lock ./deploy/build.lock
RUN python -m venv /tools && /tools/bin/pip install --require-hashes --only-binary :all: -r deploy/build.lock

# What the program needs. Before the source, so that a change of the source does not fetch it again.
COPY requirements.lock ./
RUN python -m venv /opt/weighbridge && /opt/weighbridge/bin/pip install --require-hashes --only-binary :all: -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY config ./config
COPY proxy ./proxy
RUN /tools/bin/python -m build --wheel --no-isolation --outdir /dist \
 && /opt/weighbridge/bin/pip install --no-deps --no-index /dist/*.whl \
 && /opt/weighbridge/bin/pip check \
 && /opt/weighbridge/bin/pip uninstall --yes setuptools pip \
 && /opt/weighbridge/bin/weighbridge version

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="weighbridge" \
      org.opencontainers.image.description="A transparent LLM reverse proxy that meters, prices, limits and records every call, and leaves the bytes alone." \
      org.opencontainers.image.licenses="Apache-2.0"

RUN groupadd --gid 10001 weighbridge \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin weighbridge \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/weighbridge \
 && install -d /srv/weighbridge
COPY --from=build /opt/weighbridge /opt/weighbridge

ENV PATH=/opt/weighbridge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WEIGHBRIDGE_DATA_DIR=/var/lib/weighbridge \
    HEALTH_URL=http://127.0.0.1:8080/healthz

# Spool, sockets and, without DATABASE_URL, the SQLite ledger: records that are not in the ledger yet live here.
VOLUME ["/var/lib/weighbridge"]
WORKDIR /srv/weighbridge
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as u; u.urlopen(os.environ['HEALTH_URL'], timeout=4, context=ssl._create_unverified_context())"]

# Stops within 100 s: 30 s for running answers (stop_seconds), then the spool into the ledger. Give it `--stop-timeout 110`.
ENTRYPOINT ["weighbridge"]
CMD ["serve", "--host", "0.0.0.0"]
