# The runtime images: what a workspace's program runs on when its project brings no image of its own.
#
# One target per kind, all from Debian packages, so that they can be built with no registry in reach. Registries of
# the languages are only asked for what Debian does not have; where they do not answer, the image does without.
# Everything runs as `app` (1000); /workspace and /nexus-state belong to it, and so do fresh volumes mounted there.
# The programs and the init are not in here: the agent comes on a read-only volume at /nexus.

FROM debian:trixie-slim AS common
ENV LANG=C.UTF-8
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q && apt-get install -q -y --no-install-recommends ca-certificates
RUN useradd --uid 1000 --user-group --create-home --shell /bin/bash app && install -d -o app -g app /workspace /nexus-state

# Needs no distribution: the agent serves the files.
FROM scratch AS static
USER 1000:1000
WORKDIR /tmp
WORKDIR /home/app
WORKDIR /nexus-state
ENV HOME=/home/app
WORKDIR /workspace

FROM common AS node
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q && apt-get install -q -y --no-install-recommends nodejs npm
# Corepack gives each project the pnpm or yarn it names; these are the ones for projects that name none.
# Its home is writable, so that another version can be fetched at use. Signatures are not asked for: npm does not ask
# either, and the mirrors of companies lack them. Its shims are told npm's registry: the one place anything comes from.
ENV COREPACK_INTEGRITY_KEYS=0 COREPACK_HOME=/opt/corepack \
    COREPACK_ENABLE_DOWNLOAD_PROMPT=0 COREPACK_ENABLE_AUTO_PIN=0 COREPACK_DEFAULT_TO_LATEST=0 \
    NPM_CONFIG_UPDATE_NOTIFIER=false NPM_CONFIG_FUND=false NPM_CONFIG_AUDIT=false
RUN --mount=type=secret,id=ca_bundle --mount=type=cache,target=/root/.npm \
    if [ -s /run/secrets/ca_bundle ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca_bundle; fi; \
    { npm install --global --no-progress --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 corepack@0.34 bun@1 && corepack enable && \
      registry=$(npm config get registry) && \
      sed -i "1a process.env.COREPACK_NPM_REGISTRY??='${registry%/}'" "$(npm root --global)"/corepack/dist/*.js && \
      corepack install --global pnpm@9.15.9 yarn@1.22.22; } || \
      echo "no npm registry: pnpm, yarn and bun are left out"; \
    install -d "$COREPACK_HOME" && chown -R app:app "$COREPACK_HOME"
USER app
WORKDIR /workspace

FROM common AS python
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q && apt-get install -q -y --no-install-recommends python3 python3-venv python3-pip python-is-python3 pipenv python3-poetry
# Debian's pipenv falls over a lockfile that names no source: the index's own comes before it, in a place of its own.
ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore UV_PYTHON_DOWNLOADS=never
RUN --mount=type=secret,id=ca_bundle --mount=type=cache,target=/root/.cache/pip \
    if [ -s /run/secrets/ca_bundle ]; then export PIP_CERT=/run/secrets/ca_bundle; fi; \
    { pip install --quiet --retries 1 --timeout 15 --break-system-packages uv && \
      python3 -m venv /opt/pipenv && /opt/pipenv/bin/pip install --quiet --retries 1 --timeout 15 pipenv && \
      ln -s /opt/pipenv/bin/pipenv /usr/local/bin/pipenv; } || echo "no package index: uv is left out, pipenv is Debian's"
USER app
WORKDIR /workspace

FROM common AS php
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q && apt-get install -q -y --no-install-recommends composer unzip php-cli php-bcmath php-curl php-gd php-intl \
      php-mbstring php-mysql php-pgsql php-sqlite3 php-xml php-zip
# The built-in server answers one request at a time otherwise.
ENV PHP_CLI_SERVER_WORKERS=4
USER app
WORKDIR /workspace

FROM common AS go
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q && apt-get install -q -y --no-install-recommends golang-go
# There is no C compiler in here.
ENV CGO_ENABLED=0
USER app
# What nearly every server needs of the standard library, compiled: a workspace's state volume starts as this folder.
RUN GOCACHE=/nexus-state/cache/go-build go build net/http encoding/json html/template database/sql log/slog
WORKDIR /workspace

FROM common AS ruby
# Gems with a C part are the rule, so the compiler is part of the runtime; the usual servers come ready.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q && apt-get install -q -y --no-install-recommends build-essential ruby ruby-dev bundler puma ruby-rack ruby-rackup ruby-sinatra ruby-webrick
# Gems are installed beside Debian's own, so that both are found; where Debian's are enough, no index is asked.
ENV GEM_HOME=/nexus-state/gems PATH=/nexus-state/gems/bin:$PATH
COPY --chmod=0755 <<'BUNDLE' /usr/local/bin/bundle
#!/bin/sh
if [ "$1" = install ] && /usr/bin/bundle "$@" --local >/dev/null 2>&1; then exec /usr/bin/bundle check; fi
exec /usr/bin/bundle "$@"
BUNDLE
USER app
WORKDIR /workspace
