#!/bin/sh
# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Fuzzes a copy of this checkout, whose compiled parts are built to find reads out of bounds (AddressSanitizer) and
# undefined behaviour:
#
#   run.sh [SECONDS [TARGET...]]     SECONDS (60) for the twins, a quarter of them for every other target
#   run.sh replay TARGET FILE...     inputs that failed, once each
#
# With clang and atheris (`pip install --group fuzz`) coverage guides it, of the compiled code too. Without either it
# says so, and damaged seeds are tried instead, against gcc's AddressSanitizer. Every datagram, flow sample, record and
# sampled header is put into memory of its own size first, so that one octet beyond its end is found. What is found, and
# the corpus, stay in .fuzz/.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD
python=${PYTHON:-.venv/bin/python}
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
kept=$here/.fuzz
mkdir -p "$kept/findings"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM

compiled="twins tables keepers"
others="decoder erspan recordings feeds rules heads filters"

guided=yes
missing=
"$python" -c 'import atheris' 2>/dev/null || missing="$missing atheris"
command -v clang >/dev/null || missing="$missing clang"
if [ -n "$missing" ]; then
    guided=no
    echo "###" >&2
    echo "### NOT GUIDED BY COVERAGE: missing here:$missing. Damaged seeds are tried instead." >&2
    echo "###" >&2
fi

# Recordings beside the checkout become seeds too.
mkdir "$copy/checkout" "$copy/tmp"
[ ! -d ../shared ] || ln -s "$(cd ../shared && pwd)" "$copy/shared"
cp -r sentinel switch_acl_api tests feeds "$copy/checkout"
cd "$copy/checkout"
find . -name '*.so' -delete

# Cython's own code adds nothing to NULL where a call has no arguments, which is what pointer-overflow would find.
# At -O2 it runs at twice the speed of -O1.
flags="-fPIC -O2 -g -fno-omit-frame-pointer -DSENTINEL_EXACT_COPIES"
flags="$flags -fsanitize=address,undefined -fno-sanitize=pointer-overflow -fno-sanitize-recover=all"
if [ $guided = yes ]; then
    compiler=clang
    flags="$flags -fsanitize=fuzzer-no-link"
    # libFuzzer looks for our way of changing inputs when it is loaded: what hands it over is loaded with it.
    runtime=$("$python" -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so
    runtime="$("$python" -c 'import atheris.custom_mutator as it; print(it.__file__)') $runtime"
else
    compiler=${CC:-gcc}
    runtime="$($compiler -print-file-name=libasan.so) $($compiler -print-file-name=libubsan.so)"
fi
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
for source in sentinel/receive/_native sentinel/scan/_native sentinel/erspan/_native; do
    "$python" -m cython -3 "$source.pyx"
    # Linked without the sanitizers: what they need at run time is loaded before Python.
    # shellcheck disable=SC2086  # several words
    $compiler $flags -w "-I$headers" -c "$source.c" -o "$source.o"
    $compiler -shared "$source.o" -o "$source$suffix"
done

fuzz() { # fuzz TARGET ARGUMENT...
    preload=
    case " $compiled " in *" $1 "*) preload=$runtime ;; esac
    env LD_PRELOAD="$preload" PYTHONPATH="$copy/checkout" TMPDIR="$copy/tmp" UBSAN_OPTIONS=print_stacktrace=1 \
        ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=32:malloc_context_size=4 \
        "$python" -m tests.fuzz "$@"
}

if [ "${1:-}" = replay ]; then
    shift
    target=$1
    shift
    for file; do
        case $file in /*) ;; *) file=$here/$file ;; esac
        fuzz "$target" "$file"
    done
    exit
fi

said() { # said LINE PATTERN WORDS: the last such line of the log, in our words
    grep -a "$1" "$log" | tail -1 | sed "s/$2/$3/"
}

seconds=${1:-60}
[ $# -eq 0 ] || shift
failed=
for target in ${*:-$compiled $others}; do
    for_it=$seconds
    [ "$target" = twins ] || [ $# -gt 0 ] || for_it=$((seconds / 4 + 1))
    log=$kept/$target.log
    if fuzz "$target" --seconds "$for_it" --corpus "$kept/corpus/$target" --findings "$kept/findings" >"$log" 2>&1; then
        grep -a 'no finding' "$log" || echo "$target: $(said '^Done' '.*Done \([0-9]*\).*' '\1 inputs, no finding')," \
            "$(said ' cov: ' '.* cov: \([0-9]*\) ft: .* corp: \([0-9]*\).*' '\1 edges, \2 inputs kept')," \
            "$(said peak_rss_mb '.*: *\([0-9]*\)' 'at most \1 MB')"
    else
        failed="$failed $target"
        tail -60 "$log"
        echo "$target: FOUND, all of it in $log. Replay: tests/fuzz/run.sh replay $target FILE, where FILE is one of:"
        ls -t "$kept/findings/$target"-* 2>/dev/null | head -3
    fi
done
[ -z "$failed" ] || { echo "findings:$failed" >&2; exit 1; }
