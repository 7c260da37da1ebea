# Waits some 20 s for the lock on the folder that is open as 8. Not every `flock` waits by itself, and not every `sleep`
# takes a part of a second.
take_lock() {
    waits=0
    until flock -n 8; do
        waits=$((waits + 1))
        [ "$waits" -lt 200 ] || return 1
        sleep 0.1 2>/dev/null || { sleep 1; waits=$((waits + 9)); }
    done
}
