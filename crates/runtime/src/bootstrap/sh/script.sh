# Runs Skyward's bootstrap steps. What it says begins a line with "$nonce", which was set before this
# text; steps do not know it, so nothing that they print is mistaken for ours. Everything is in
# functions, called by the last line: text that was cut off on its way does nothing.
say() {
    printf '\n%s %s\n' "$nonce" "$*"
}

# One bootstrap at a time. The lock ends with this process; steps do not inherit it, so that what they
# leave running does not keep it.
lock() {
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$skyward/lock"
        flock -n 9 || { say wait; flock 9; }
        return
    fi
    waiting=
    until ln -s "pid-$$" "$skyward/lock.owner" 2>/dev/null; do
        owner=$(readlink "$skyward/lock.owner")
        if [ -n "$owner" ] && ! kill -0 "${owner#pid-}" 2>/dev/null; then
            take_over "$owner"
        else
            [ -n "$waiting" ] || say wait
            waiting=yes
            sleep 1
        fi
    done
    trap 'rm -f "$skyward/lock.owner"' EXIT
    trap 'exit 129' HUP
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
}

# Removes a dead owner's lock. Only one may do so at a time: the lock that a second one removed could
# be that of a new owner.
take_over() {
    mkdir "$skyward/lock.taking" 2>/dev/null || { sleep 1; return; }
    if [ "$(readlink "$skyward/lock.owner")" = "$1" ]; then rm -f "$skyward/lock.owner"; fi
    rmdir "$skyward/lock.taking"
}

# Does the step with this key, whose text is on standard input. From the first step that is not done
# yet, everything is done: what a later step left may rest on what an earlier one did differently.
step() {
    if [ -z "$changed" ] && [ -e "$skyward/steps/$1" ]; then
        kept="$kept $1"
        say skip "$1"
        return
    fi
    [ -n "$changed" ] || forget
    changed=yes
    say start "$1"
    cat >"$skyward/step.sh" || exit 73
    sh -e -c '[ ! -e "$0/env" ] || . "$0/env"; SKYWARD_HOME=$0; . "$0/step.sh"' "$skyward" </dev/null 9>&-
    code=$?
    if [ "$code" != 0 ]; then
        say fail "$1" "$code"
        exit "$code"
    fi
    : >"$skyward/steps/$1" || exit 73
    say done "$1"
}

# Forgets every step but those that were just found done.
forget() {
    for marker in "$skyward"/steps/*; do
        case " $kept " in
        *" ${marker##*/} "*) ;;
        *) rm -f "$marker" ;;
        esac
    done
}

main() {
    exec 2>&1
    skyward=$HOME/.skyward
    changed=
    kept=
    mkdir -p "$skyward/work" "$skyward/steps" && cd "$skyward/work" || exit 73
    lock
