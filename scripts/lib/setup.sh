# shellcheck shell=bash
# What scripts/demo, scripts/test and scripts/bench share: finding interpreters and making the
# environments below .venv/. To be sourced. Works with bash 3.2 (macOS).
#
# An environment is made once and stamped with what it was made from; as long as the stamp fits,
# setting it up again costs nothing.

# mitmproxy 11 is tested on the one, mitmproxy 12 on the first of the others that is there.
OLD_PYTHONS=(3.11)
NEW_PYTHONS=(3.14 3.13 3.12)

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

NO_PYTHON="no Python 3.11 or newer was found, neither on PATH nor in pyenv"

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# True if $1 runs and is Python $2. A pyenv shim exists for versions that it then refuses to run.
is_python() {
    "$1" -c 'import sys; sys.exit(sys.argv[1] != "%d.%d" % sys.version_info[:2])' "$2" >/dev/null 2>&1
}

# Prints the path of a Python $1 (such as 3.11): from PATH, else from pyenv's versions.
find_python() {
    local version="$1" candidate pyenv_root
    for candidate in "python$version" python3 python; do
        if is_python "$candidate" "$version"; then
            # The interpreter itself, not a pyenv shim or an active environment, which may change.
            "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
            return 0
        fi
    done
    pyenv_root="${PYENV_ROOT:-$(pyenv root 2>/dev/null || printf '%s' "$HOME/.pyenv")}"
    for candidate in "$pyenv_root/versions/$version".*/bin/python; do
        if is_python "$candidate" "$version"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# Prints the version and the path of the first of the versions $@ that is there.
find_first_python() {
    local version python
    for version in "$@"; do
        if python="$(find_python "$version")"; then
            printf '%s %s\n' "$version" "$python"
            return 0
        fi
    done
    return 1
}

# make_environment NAME PYTHON PIP_ARGUMENT...: .venv/NAME with what `pip install PIP_ARGUMENT...` gives.
make_environment() {
    local name="$1" python="$2" stamp
    shift 2
    local folder="$ROOT/.venv/$name"
    stamp="$("$python" - "$ROOT/pyproject.toml" "$python" "$@" <<'PYTHON'
import hashlib, pathlib, sys
parts = [pathlib.Path(sys.argv[1]).read_bytes(), sys.version.encode(), *map(str.encode, sys.argv[2:])]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())
PYTHON
    )"
    if [ -x "$folder/bin/python" ] && [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ] &&
        "$folder/bin/python" -c '' 2>/dev/null; then
        return 0
    fi
    say "setting up .venv/$name with $("$python" --version 2>&1) (once) ..."
    "$python" -m venv --clear "$folder" ||
        die "$python cannot make an environment; on Debian and Ubuntu install its python3-venv package"
    "$folder/bin/python" -m pip install --quiet --quiet --disable-pip-version-check "$@" >&2 ||
        die "pip could not set up .venv/$name, see above"
    # Written last: an interrupted set-up has no stamp and is made anew.
    printf '%s\n' "$stamp" >"$folder/stamp"
}

# The environment of the two backends, apart from mitmproxy's (see the extra `demo`). Sets
# MITM_MIRROR_HTTPBIN_PYTHON, which scripts/lab reads.
make_httpbin_environment() {
    local found python requirement
    found="$(find_first_python "${OLD_PYTHONS[@]}" "${NEW_PYTHONS[@]}")" || die "$NO_PYTHON"
    python="${found#* }"
    local requirements=()
    while IFS= read -r requirement; do
        requirements+=("$requirement")
    done < <("$python" -c '
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    print("\n".join(tomllib.load(file)["project"]["optional-dependencies"]["demo"]))
' "$ROOT/pyproject.toml")
    make_environment httpbin "$python" "${requirements[@]}"
    export MITM_MIRROR_HTTPBIN_PYTHON="$ROOT/.venv/httpbin/bin/python"
}

# make_mitmproxy_environment VERSION PYTHON: .venv/pyXY, the project with its test tools and the
# mitmproxy that belongs to this Python. Prints the environment's python.
make_mitmproxy_environment() {
    local version="$1" python="$2" name mitmproxy
    case "$version" in
        3.11) mitmproxy="mitmproxy==11.0.2" ;; # the last release for 3.11, and the oldest that we support
        *) mitmproxy="mitmproxy>=12,<13" ;;
    esac
    name="py${version/./}"
    make_environment "$name" "$python" --editable "$ROOT[test]" "$mitmproxy"
    printf '%s\n' "$ROOT/.venv/$name/bin/python"
}

# Prints the python of the environment for a program that needs only one: the newest.
make_default_environment() {
    local found
    found="$(find_first_python "${NEW_PYTHONS[@]}" "${OLD_PYTHONS[@]}")" || die "$NO_PYTHON"
    make_mitmproxy_environment "${found%% *}" "${found#* }"
}
