# syntax=docker/dockerfile:1
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
# Without rust-toolchain.toml: the image has the compiler, and its lint and format tools are not needed here.
COPY .cargo ./.cargo
COPY Cargo.toml Cargo.lock askama.toml ./
COPY benches ./benches
COPY src ./src
COPY templates ./templates
COPY rules.example.yaml ./
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/activity-relay /activity-relay && mkdir /data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /activity-relay /usr/local/bin/activity-relay
COPY --from=build --chown=nonroot:nonroot /data /data
COPY --from=build /src/templates /etc/activity-relay/templates
# Mount your rules at /etc/activity-relay/rules.yaml; the store lives on the volume.
ENV RELAY_CONFIG=/etc/activity-relay/rules.yaml \
    RELAY_STORE=sqlite:///data/relay.db
WORKDIR /data
VOLUME /data
# Console, health and metrics answer inside the container only, unless the command is `run --listen 0.0.0.0:8787`, which
# demands RELAY_CONSOLE_TOKEN.
EXPOSE 8787
USER nonroot
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/local/bin/activity-relay", "health"]
ENTRYPOINT ["/usr/local/bin/activity-relay"]
CMD ["run"]
