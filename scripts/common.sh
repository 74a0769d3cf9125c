# shellcheck shell=bash
# Sourced by the scripts beside it: where things are, how to speak, how to get what the machine lacks.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that the scripts fetch or build for themselves; ignored by git, safe to delete.
work=$repository/.work
mkdir -p "$work"

# Cargo's target folder: the workspace's, unless the caller keeps it elsewhere.
# shellcheck disable=SC2034  # read by the scripts that source this file
cargo_target=${CARGO_TARGET_DIR:-$repository/target}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# need_packages PACKAGE...: installs Debian packages that aren't there yet.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ! command -v apt-get >/dev/null || ((EUID != 0)); then
        die "this machine lacks: ${missing[*]} (Debian's names). Install them and run this again; as root on Debian it is done for you"
    fi
    say "installing ${missing[*]}"
    # Two scripts may run at once (a build and an engine start): apt waits for the other's lock.
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >"$work/apt.log" 2>&1 ||
        { "${apt[@]}" update >>"$work/apt.log" 2>&1 &&
            DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >>"$work/apt.log" 2>&1; } ||
        { cat "$work/apt.log" >&2 && die "apt-get could not install ${missing[*]}"; }
}

# newest_packages PACKAGE...: brings installed Debian packages to the newest version there is: a machine's package lists may
# be older than the packages.
newest_packages() {
    say "bringing $* up to date"
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
    { "${apt[@]}" update && DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$@"; } \
        >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2 && die "apt-get could not bring $* up to date"; }
}

# Holds a lock for the rest of the script, so that two runs don't prepare the same thing at once.
only_one() {
    exec 9>"$work/$1.lock"
    flock 9
}

# The crate's version, which is the component's and the image's too.
version() { sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$repository/Cargo.toml"; }

# BuildKit skips stages that aren't needed. A client that wants the buildx plugin and has none gives way to Debian's.
docker_build() {
    local docker=docker
    if ! docker buildx version >/dev/null 2>&1 && [[ -x /usr/bin/docker ]]; then
        docker=/usr/bin/docker
    fi
    DOCKER_BUILDKIT=1 "$docker" build --quiet "$@" >/dev/null
}
