#!/bin/sh
# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Builds the compiled parts with AddressSanitizer, in a copy, and compares the twins for a time: sanitized.sh [SECONDS].
# Every datagram is put into memory of its own size first, so that one octet beyond its end is found.
set -eu
seconds=${1:-60}
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
compiler=${CC:-gcc}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

cp -r sentinel tests "$copy"
cd "$copy"
find . -name '*.so' -delete
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
for source in sentinel/_receive sentinel/scan/_native sentinel/erspan/_native; do
    "$python" -m cython -3 "$source.pyx"
    "$compiler" -shared -fPIC -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=bounds \
        -DSENTINEL_EXACT_COPIES "-I$headers" "$source.c" -o "$source$suffix"
done
LD_PRELOAD="$("$compiler" -print-file-name=libasan.so) $("$compiler" -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 PYTHONMALLOC=malloc PYTHONPATH="$copy" \
    "$python" -m tests.fuzz.compare_twins "$seconds"
