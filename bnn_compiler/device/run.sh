#!/bin/sh
# Measures every candidate of this kit on this board and writes one file of results:
#
#   sh run.sh [RESULTS]        (default: results.json here)
#
# Needs a shell, sed, grep, tr, cut and sha256sum; busybox has them all. A kit for a GPU needs its
# driver and python3 too. A run that was interrupted goes on where it was. RUNNER="..." goes before
# every program (nice, taskset, an emulator).
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 2
case "${1:-}" in
  "") results=$here/results.json ;;
  /*) results=$1 ;;
  *) results=$PWD/$1 ;;
esac
partial=$results.partial
cd "$here" || exit 2
sha256sum -c SHA256SUMS >/dev/null || { echo "run.sh: this kit is damaged: unpack it again" >&2; exit 2; }
id=$(sed 's/^{"kit": "\([^"]*\)".*/\1/' manifest.json)
arch=$(sed 's/^{"kit": "[^"]*", "arch": "\([^"]*\)".*/\1/' manifest.json)
if [ "$arch" = cuda ]; then
  model=$(./programs/0 --gpu) || { echo "run.sh: ${model:-this kit needs python3}" >&2; exit 2; }
else
  # A shell takes another machine's program for a script.
  if [ -z "${RUNNER:-}" ] && [ "$(uname -m)" != "$arch" ]; then
    echo "run.sh: this kit is for $arch, and this is $(uname -m)" >&2
    exit 2
  fi
  model=$({ tr -d '\0' </proc/device-tree/model || sed -n 's/^model name[^:]*: //p' /proc/cpuinfo; } 2>/dev/null | sed 1q)
fi
board=$(echo "${model:-$(uname -m)}${RUNNER:+ ($RUNNER)}" | tr -cd 'A-Za-z0-9 ._()@/-')
first="{\"kit\": \"$id\", \"board\": \"$board\"}"

# The line that was being written when the power went is measured again.
if [ -f "$partial" ]; then
  sed '/}$/!d' "$partial" >"$partial.whole" && mv "$partial.whole" "$partial" || exit 2
fi
if [ -s "$partial" ]; then
  [ "$(sed 1q "$partial")" = "$first" ] || {
    echo "run.sh: $partial is of another kit or board: remove it, or name another RESULTS" >&2
    exit 2
  }
else
  echo "$first" >"$partial" || exit 2
fi
total=$(grep -c . candidates.txt)
float='[0-9.e+-]*'
measured='{"name": "[^"]*", "seconds": \['"$float\(, $float\)*"'\], "digest": "[0-9a-f]*"}'
while read -r number constants arguments; do
  grep -q "^{\"candidate\": $number," "$partial" && continue
  # shellcheck disable=SC2086 # RUNNER and the arguments are words
  output=$(${RUNNER:-} "./programs/$number" "./constants/$constants" $arguments </dev/null 2>/dev/null)
  code=$?
  case $code in
    0) echo "$output" | grep -qx "$measured" || { code=1; output=null; } ;;
    126 | 127) echo "run.sh: this board cannot run the kit's programs${output:+: $output}" >&2; exit 2 ;;
    *) output=null ;;
  esac
  echo "{\"candidate\": $number, \"code\": $code, \"output\": $output}" >>"$partial" || exit 2
  printf '\r%s of %s' "$((number + 1))" "$total" >&2
done <candidates.txt
echo >&2
{
  printf '{"manifest":\n'
  cat manifest.json
  printf ', "lines": [\n'
  sed '$!s/$/,/' "$partial"
  printf '], "sha256": "%s"}\n' "$(sha256sum <"$partial" | cut -c 1-64)"
} >"$results.new" && mv "$results.new" "$results" && rm "$partial" && echo "$results"
