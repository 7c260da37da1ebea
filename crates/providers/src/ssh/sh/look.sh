# Whether a machine lives on this host. Arguments: folder, pool, machine.
base=$1
case $base in /*) ;; *) base=$HOME/$base ;; esac
machine=$base/$(uname -n)/$2/$3
if [ -d "$machine" ] && ! flock -n "$machine" true; then
    printf 'skyward lives %s %s\n' "$(cat "$machine/.skyward/guard")" "$machine"
else
    echo skyward gone
fi
