#!/usr/bin/env bash
# Runs memcached's own test programs against larder's memcached server and prints a table of how they went.
#
#   conformance/memcached.sh DIR [FILE.t ...]
#
# DIR is a checkout of memcached (github.com/memcached/memcached); docs/conformance.md says of which version. Its t/*.t are
# run with prove; without FILEs all that conformance/memcached.left-out does not leave out whole. That list gives, a line
# each: a file, what is left out of it (* for all, else a Perl pattern for the descriptions of assertions with _ for a blank, or `unrun` for
# assertions that were not reached), and why.
#
# LARDER_MEMCACHED names the server's program; otherwise it is built. JOBS (4) files run at a time, TIMEOUT (170) seconds each.
# Ends with 1 if an assertion failed that is not left out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if (($# < 1)) || [[ ! -d $1/t ]]; then
    sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
source=$(cd "$1" && pwd)
shift
program=${LARDER_MEMCACHED:-}
if [[ -z $program ]]; then
    (cd "$here/.." && cargo build --quiet --release --features memcached --example memcached)
    program=${CARGO_TARGET_DIR:-$here/../target}/release/examples/memcached
fi
program=$(realpath "$program")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The programs are run from a folder that looks like memcached's own after a build. The test build's option
# `relaxed_privileges`, which they always give, is one that the server knows.
cp -r "$source/t" "$work/t"
mkdir "$work/doc" && cp "$source"/doc/protocol.txt "$work/doc/" 2> /dev/null || true
ln -s "$program" "$work/memcached-debug"
if [[ -f $source/timedrun.c ]] && command -v cc > /dev/null; then
    cc -o "$work/timedrun" "$source/timedrun.c" 2> /dev/null
else
    printf '#!/bin/sh\nshift\nexec "$@"\n' > "$work/timedrun"
    chmod +x "$work/timedrun"
fi

one() { # one FILE: runs it, leaves its output in $work/FILE.tap
    cd "$work" && timeout "${TIMEOUT:-170}" prove --verbose "t/$1" > "$1.tap" 2>&1
    echo "exit code $?" >> "$1.tap"
}
export -f one
export work

left_whole() { awk -v f="$1" '$1 == f && $2 == "*" { sub(/^[^ ]+ +[^ ]+ +/, ""); print; exit }' "$here/memcached.left-out"; }
files=("$@")
if ((${#files[@]} == 0)); then
    while read -r file; do
        [[ -n $(left_whole "$file") ]] || files+=("$file")
    done < <(cd "$work/t" && ls -- *.t)
    whole=$(cd "$work/t" && ls -- *.t)
fi
printf '%s\0' "${files[@]}" | xargs -0 -P "${JOBS:-4}" -I{} bash -c 'one {} || true'

perl - "$here/memcached.left-out" "$work" "${whole:-}" "${files[@]}" << 'PERL'
use strict;
use warnings;
my ($list, $work, $whole, @files) = @ARGV;
my (%patterns, %reasons);
open(my $in, '<', $list) or die "$list: $!\n";
while (<$in>) {
    next if /^\s*(#|$)/;
    my ($file, $what, $why) = split ' ', $_, 3;
    chomp $why;
    if ($what eq '*') { $reasons{$file} = $why }
    else { $what =~ s/_/[ _]/g; push @{ $patterns{$file} }, [$what, $why] }
}
my ($row, $bad) = ("%-24s %10s %8s %8s %9s  %s\n", 0);
printf $row, 'file', 'assertions', 'passed', 'failed', 'left out', 'why';
my @sum = (0) x 4;
for my $file (@files) {
    open(my $tap, '<', "$work/$file.tap") or die "$file: $!\n";
    my ($planned, $passed, $failed, $left, $ran, $code, $skipped) = (undef, 0, 0, 0, 0, 1, '');
    my %why;
    while (<$tap>) {
        if (/^1\.\.(\d+)(?:\s*# SKIP (.*))?/i) { $planned = $1; $skipped = $2 // '' if defined $2 }
        elsif (/^(not )?ok \d+(?: - )?(.*)/) {
            $ran++;
            if (!$1) { $passed++; next }
            my $text = $2;
            my ($match) = grep { $text =~ /$_->[0]/ } @{ $patterns{$file} // [] };
            if ($match) { $left++; $why{ $match->[1] } = 1 } else { $failed++ }
        }
        elsif (/^exit code (\d+)/) { $code = $1 }
    }
    $planned //= $ran;
    my $unrun = $planned > $ran ? $planned - $ran : 0;
    if ($unrun || ($code && !$failed && !$left)) {
        my ($match) = grep { $_->[0] eq 'unrun' } @{ $patterns{$file} // [] };
        if ($match) { $left += $unrun; $why{ $match->[1] } = 1 }
        else { $failed += $unrun || 1; $why{ $code == 124 ? 'ran out of time' : 'ended early' } = 1 }
    }
    $why{"skips itself: $skipped"} = 1 if $skipped;
    printf $row, $file, $ran + $unrun, $passed, $failed, $left, join('; ', sort keys %why);
    $bad ||= $failed;
    $sum[0] += $ran + $unrun; $sum[1] += $passed; $sum[2] += $failed; $sum[3] += $left;
}
printf $row, 'all', @sum, '';
for my $file (split ' ', $whole) {
    printf $row, $file, '-', '-', '-', 'all', $reasons{$file} if $reasons{$file};
}
exit($bad ? 1 : 0);
PERL
