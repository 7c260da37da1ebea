# Starts a program that outlives this shell. Arguments: how the program is started in its role, its path
# below $HOME, its own arguments. The program has the standard input and output of this shell; this shell
# ends when the program lets go of the output, which is when it has answered, or when it has ended.
#
# It travels as one line without comments and exclamation marks, so that any login shell hands it on as
# it is: each line here ends in what may stand before the next one on the same line.
export SKYWARD_HOME="$HOME/.skyward"; SKYWARD_START=$1; SKYWARD_PROGRAM=$HOME/$2; shift 2;
SKYWARD_LOG=$SKYWARD_HOME/worker.log;
mkdir -p "$SKYWARD_HOME/work" && cd "$SKYWARD_HOME/work" || exit 73;
if [ -e "$SKYWARD_LOG" ]; then mv -f "$SKYWARD_LOG" "$SKYWARD_LOG.1"; fi;
: >"$SKYWARD_LOG" || exit 73;
if [ -e "$SKYWARD_HOME/env" ]; then . "$SKYWARD_HOME/env"; fi;
# Many tasks mean many files. Only the soft limit is raised, and not without need.
SKYWARD_FILES=$(ulimit -S -n);
if [ "$SKYWARD_FILES" = unlimited ] || [ "$SKYWARD_FILES" -ge 65536 ]; then :;
else ulimit -S -n 65536 2>/dev/null || ulimit -S -n "$(ulimit -H -n)" 2>/dev/null; fi;
if command -v setsid >/dev/null 2>&1; then SKYWARD_SESSION=setsid; else SKYWARD_SESSION=; fi;
exec 3<&0;
{
    $SKYWARD_SESSION sh -c "$SKYWARD_START" "$SKYWARD_PROGRAM" "$@" <&3 3<&- 2>>"$SKYWARD_LOG" &
} | cat 3<&-
