# Starts a program that outlives this shell. Arguments: how the program is started in its role, its path
# below $HOME, its own arguments. The program has the standard input and output of this shell; this shell
# ends when the program lets go of the output, which is when it has answered, or when it has ended.
SKYWARD_HOME=$HOME/.skyward
SKYWARD_START=$1
SKYWARD_PROGRAM=$HOME/$2
shift 2
mkdir -p "$SKYWARD_HOME/work" && cd "$SKYWARD_HOME/work" || exit 73
[ ! -e "$SKYWARD_HOME/worker.log" ] || mv -f "$SKYWARD_HOME/worker.log" "$SKYWARD_HOME/worker.log.1"
: >"$SKYWARD_HOME/worker.log" || exit 73
[ ! -e "$SKYWARD_HOME/env" ] || . "$SKYWARD_HOME/env"
# Many tasks mean many files. Only the soft limit is raised, and not without need.
case $(ulimit -S -n) in
unlimited) ;;
*)
    [ "$(ulimit -S -n)" -ge 65536 ] || ulimit -S -n 65536 2>/dev/null || ulimit -S -n "$(ulimit -H -n)" 2>/dev/null
    ;;
esac
if command -v setsid >/dev/null 2>&1; then SKYWARD_SESSION=setsid; else SKYWARD_SESSION=; fi
exec 3<&0
{
    $SKYWARD_SESSION sh -c "$SKYWARD_START" "$SKYWARD_PROGRAM" "$@" <&3 3<&- 2>>"$SKYWARD_HOME/worker.log" &
} | cat 3<&-
