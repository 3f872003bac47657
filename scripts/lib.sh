# shellcheck shell=bash
# What every script here shares: a voice, root when it is needed, and a docker that answers.
#
# Sourced, never run. Progress goes to stderr so that stdout stays data.

# shellcheck disable=SC2034 # for the scripts that source this
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# One line of progress.
say() { printf '\033[1m==>\033[0m %s\n' "$*" | plain >&2; }

# Colour only where somebody looks at it.
plain() { if [ -t 2 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }

# fail WHAT [HINT...]: what happened, then what to do about it, then the end.
fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  for hint in "$@"; do printf 'hint: %s\n' "$hint" >&2; done
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    fail "\`$1\` needs root, and there is no sudo here" "run this script as root"
  fi
}

# wait_for SECONDS COMMAND...: polls until the command succeeds or the time is over.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.3
  done
}

# quietly LOG COMMAND...: keeps a long command's output in a file, and shows its end when it fails.
quietly() {
  local log=$1
  shift
  if ! "$@" >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    return 1
  fi
}

# Does an engine answer? A hanging one counts as none. Through sudo if the socket is not ours.
engine_answers() {
  timeout 15 docker version --format '{{.Server.Version}}' >/dev/null 2>&1 && return 0
  [ "$(id -u)" != 0 ] && have sudo && sudo -n true 2>/dev/null &&
    timeout 15 sudo docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

# Makes plain `docker` work in the rest of a script, whoever runs it.
need_docker() {
  have docker || fail "there is no docker command" "run scripts/engine"
  if timeout 15 docker version >/dev/null 2>&1; then return; fi
  engine_answers || fail "no container engine answered within 15s" "run scripts/engine"
  # With root's home: what docker writes there would lock its owner out of a user's.
  # shellcheck disable=SC2032,SC2033,SC2317 # sudo runs the program, scripts call the function
  docker() { sudo -E HOME=/root docker "$@"; }
}

# The CA bundle that builds and containers should trust besides their own, if there is any.
ca_bundle() {
  local bundle=${NEXUS_CA_BUNDLE-/etc/ssl/certs/ca-certificates.crt}
  if [ -n "$bundle" ] && [ -r "$bundle" ]; then printf '%s\n' "$bundle"; fi
}

codename() { (. /etc/os-release && echo "${VERSION_CODENAME:-unknown}"); }

# A folder for this run alone, gone with it.
scratch() {
  SCRATCH=$(mktemp -d -p /var/tmp nexus-XXXXXX)
  trap 'as_root rm -rf "$SCRATCH"' EXIT
}

# apt_install PACKAGE...: without their recommendations, without questions.
APT_READY=
apt_install() {
  have apt-get || fail "\`$*\` is missing, and there is no apt-get to install it" \
    "install it by your system's own means, then run this again"
  if [ -z "$APT_READY" ]; then
    quietly "$SCRATCH/apt" as_root apt-get update -q || say "the package lists could not be refreshed, going on with what is there"
    APT_READY=1
  fi
  quietly "$SCRATCH/apt" as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" ||
    fail "the packages could not be installed: $*" "see the lines above; a broken package state or no network are the usual reasons"
}

# Where Debian 13's packages come from: the machine's own Debian sources with the suite's name replaced (so that its
# choice of mirror is kept), Debian's public ones on a system that is not Debian. Both of apt's formats in, the newer out.
debian_sources() {
  local file own
  own=$(codename)
  {
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
      [ -r "$file" ] || continue
      # One-line format: deb [options] URI SUITE COMPONENTS
      sed -nE 's/#.*//; s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+)[[:space:]]+([^[:space:]]+).*/\2 \3/p' "$file"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
      [ -r "$file" ] || continue
      awk 'BEGIN { RS = ""; FS = "\n" } {
        uris = suites = ""; on = 1
        for (i = 1; i <= NF; i++) {
          key = tolower($i); sub(/:.*/, "", key); value = $i; sub(/^[^:]*:[ \t]*/, "", value)
          if (key == "uris") uris = value
          if (key == "suites") suites = value
          if (key == "enabled" && tolower(value) == "no") on = 0
        }
        count = split(uris, uri, " ")
        if (on && count) print uri[1], suites
      }' "$file"
    done
  } | awk -v own="$own" '
    own !~ /^(bookworm|trixie)$/ { next }
    {
      suites = ""
      for (i = 2; i <= NF; i++) if ($i ~ "^" own "(-updates|-security)?$") suites = suites " trixie" substr($i, length(own) + 1)
      if (suites) { print $1 suites; found = 1 }
    }
    END { if (!found) print "http://deb.debian.org/debian trixie trixie-updates\nhttp://security.debian.org/debian-security trixie-security" }
  ' | while read -r uri suites; do
    # A list of mirrors on this machine: its first one will do.
    case $uri in mirror+file:*) uri=$(awk '!/^#/ && NF { print $1; exit }' "${uri#mirror+file:}") ;; esac
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n' "$uri" "$suites"
  done
}

# debian_13_packages FOLDER PACKAGE...: Debian 13's packages as files in a folder, nothing installed.
#
# A private apt (own lists, own cache) reads the sources above, so the system's package state stays as it is, and
# signatures are still checked.
debian_13_packages() {
  local folder=$1 apt="$SCRATCH/trixie"
  shift
  mkdir -p "$folder" "$apt"/{parts,lists/partial,cache/archives/partial}
  chmod -R a+rX "$SCRATCH"
  debian_sources >"$apt/parts/trixie.sources"
  [ -s "$apt/parts/trixie.sources" ] || return 1
  local options=(-q -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$apt/parts" -o "Dir::State::Lists=$apt/lists"
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none)
  quietly "$SCRATCH/apt" as_root apt-get "${options[@]}" update || return 1
  (cd "$folder" && quietly "$SCRATCH/apt" as_root apt-get "${options[@]}" download "$@")
}

# The oldest Rust that compiles the sources.
rust_wanted() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

cargo_is_new_enough() {
  local found
  have cargo || return 1
  found=$(cd "$ROOT" && cargo --version 2>/dev/null | cut -d' ' -f2)
  [ -n "$found" ] && [ "$(printf '%s\n' "$(rust_wanted)" "$found" | sort -V | head -n 1)" = "$(rust_wanted)" ]
}

# The appliance's version, as Compose reads it.
version() { sed -n 's/^NEXUS_VERSION=//p' "$ROOT/.env"; }

# digest FILE...: one short word that changes when any of them does.
digest() { sha256sum "$@" | sha256sum | cut -c1-16; }

# built IMAGE DIGEST: is the image there, and made from exactly this?
built() { [ "$(docker image inspect --format '{{index .Config.Labels "nexus.content"}}' "$1" 2>/dev/null)" = "$2" ]; }

# Was an S3 server put beside the appliance here?
with_s3() { grep -qs '^NEXUS_S3_SECRET_KEY=' "$ROOT/compose/.env"; }

# The appliance's stack. What this machine settled on is in compose/.env.
compose() {
  (
    cd "$ROOT" || exit
    if [ -z "${COMPOSE_FILE:-}" ] && with_s3; then export COMPOSE_FILE=compose/core.yaml:compose/s3.yaml; fi
    docker compose "$@"
  )
}
