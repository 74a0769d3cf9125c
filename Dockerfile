# The notifier's image: one static binary on busybox, whose shell is what GitLab's runner needs to run a job.
#
#   docker build -t notify-event .                      for this machine's architecture
#   docker buildx build --platform linux/amd64,linux/arm64 .
#   docker build --target sandbox -t notify-event-sandbox .
#
# Where the binaries are built already (scripts/static-binary puts them into .work/dist/<arch>/), or where nothing can be
# pulled, the same file only assembles:
#   docker build --build-arg BINARIES=prebuilt --build-arg BASE=<an image with busybox> .

# Every applet of this busybox stays: sh, mkdir and touch are called in every job, tee, chmod and mv by Kubernetes,
# grep, ls, id, sleep, date, awk here and there.
ARG BASE=busybox:1.37.0-musl
ARG RUST=rust:1.95-alpine
# Where the binaries come from: `compiled` or `prebuilt`. Stages that aren't needed are not built.
ARG BINARIES=compiled

FROM ${RUST} AS source
RUN apk add --no-cache gcc musl-dev
WORKDIR /source
COPY . .

# Alpine's own target is musl, and static.
FROM source AS compiled
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,id=target-${TARGETARCH},sharing=locked \
    cargo build --release --locked -p notify-event \
    && mkdir /binaries && cp target/release/notify-event /binaries/ \
    && echo "notify-event: $(stat -c %s /binaries/notify-event) bytes, $(gzip -9 </binaries/notify-event | wc -c) compressed"

FROM source AS compiled-sandbox
ARG TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,id=target-${TARGETARCH},sharing=locked \
    cargo build --release --locked -p notify-event-sandbox \
    && mkdir /binaries && cp target/release/notify-event-sandbox /binaries/

FROM scratch AS prebuilt
ARG TARGETARCH
COPY .work/dist/${TARGETARCH}/ /binaries/

FROM prebuilt AS prebuilt-sandbox

# COPY --from takes no build argument, a stage's name does.
FROM ${BINARIES} AS binaries
FROM ${BINARIES}-sandbox AS sandbox-binaries

# The services' strict stand-ins, for `services:` in a pipeline and for trying things out.
FROM ${BASE} AS sandbox
COPY --from=sandbox-binaries /binaries/notify-event-sandbox /usr/local/bin/notify-event-sandbox
USER 65534:65534
EXPOSE 8080
CMD ["notify-event-sandbox", "--serve", "--listen", "0.0.0.0:8080"]

# Last, so that it is what `docker build .` makes.
FROM ${BASE} AS notify-event
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="notify-event" \
      org.opencontainers.image.description="Reports what a GitLab pipeline did to Rely.io, CTO.ai, Direktiv, Aviator Releases and Port" \
      org.opencontainers.image.licenses="MIT AND GPL-2.0-only" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=binaries /binaries/notify-event /usr/local/bin/notify-event
# A number, because Kubernetes can't tell whether a name is root (runAsNonRoot). Nothing needs a home or a writable root.
USER 65534:65534
# No ENTRYPOINT: the runner passes a shell.
CMD ["notify-event", "--help"]
