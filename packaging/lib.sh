# What packaging/build and packaging/test share; sourced at the top of the repository.
# shellcheck shell=bash

say() { printf '=== %s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"$/\1/p;T;q' Cargo.toml)

# Reads packaging/targets: the names in all_targets, the rest by name.
declare -A rust_target zig_target debs ipks qemu
read_targets() {
    all_targets=()
    local name target zig deb ipk emulator
    while read -r name target zig deb ipk emulator; do
        case $name in '' | '#'*) continue ;; esac
        all_targets+=("$name")
        rust_target[$name]=$target
        # shellcheck disable=SC2034  # packaging/build reads it
        zig_target[$name]=$(list "$zig")
        debs[$name]=$(list "$deb")
        ipks[$name]=$(list "$ipk")
        # shellcheck disable=SC2034  # packaging/test reads it
        qemu[$name]=$(list "$emulator")
    done <packaging/targets
}
# "a,b" as "a b", and "-" as nothing.
list() { [ "$1" = - ] || printf '%s' "${1//,/ }"; }

# The binary that was built last for a target: NAME[-nossl].
binary_of() { echo "target/packaging/$1/footbridge"; }

# WORDS: installs Debian packages, or says how.
install_packages() {
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || fail "please install first: apt-get install --no-install-recommends $*"
        sudo=(sudo -n)
    fi
    say "installing $*"
    "${sudo[@]}" apt-get -qq -o DPkg::Lock::Timeout=600 update
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 \
        install --no-install-recommends "$@" </dev/null >/dev/null
}
