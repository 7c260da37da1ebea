# The few commands of every day. `.ci/run` is the gate; it needs no `just`.

# What fails fastest: format, lints, floors.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo test -p skyward-tests --test floors

# All tests; `just test floors` runs those whose name matches.
test *names:
    cargo test --workspace {{ names }}

# Our numbers beside the floor under them: `just bench start --json`.
bench case *options:
    cargo run --release -p skyward-bench -- {{ case }} {{ options }}

# Rents one machine of a real cloud and gives it back, for money; says what it cost: `just live lambda`.
live cloud:
    SKYWARD_LIVE={{ cloud }} cargo test -p skyward-tests --test clouds -- --ignored --exact --nocapture live::a_machine_of_a_real_cloud_is_rented_and_given_back

# The documentation, with its warnings as errors.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Each decoder for five minutes, two at a time, then a hundred thousand simulated lives, then random calls and kills on
# eight nodes for a number of minutes, or for `SKYWARD_SOAK_SECONDS` where that is set. Memory is told at the quarters.
soak minutes="60" seeds="100000" fuzz="300":
    SKYWARD_SEED=$$ SKYWARD_FUZZ_SECONDS={{ fuzz }} cargo test --workspace --test replay -- --test-threads 2
    SKYWARD_SEEDS={{ seeds }} cargo test -p skyward-runtime --features testing two_thousand_seeds -- --nocapture
    SKYWARD_SOAK_SECONDS=${SKYWARD_SOAK_SECONDS:-$(({{ minutes }} * 60))} cargo test -p skyward-tests --test soak -- --nocapture

# Looks for bytes that a decoder cannot stand, led by coverage (a C++ compiler is needed), for so many seconds each:
# `just fuzz 60 lane-frames`.
fuzz seconds="20" *decoders:
    .ci/fuzz {{ seconds }} {{ decoders }}

# Formats everything.
fmt:
    cargo fmt --all

# Licences, bans, sources, and the advisories, which need the network.
deny:
    cargo deny check
