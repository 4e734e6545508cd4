# syntax=docker/dockerfile:1
# The shipped image: one binary and what it links against. No shell, no package manager, not root.
#
#   docker build -t usher .
#   docker run --rm -p 8080:8080 -v "$PWD/usher.yaml:/etc/usher/usher.yaml:ro" usher
#
# tests/dockerfile.rs checks each step of this file where no container engine runs.

FROM rust:1.95-slim-bookworm AS builder
# The compiler of the C and assembly inside aws-lc-sys and mimalloc.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock README.md ./
COPY src ./src
RUN cargo build --profile dist --locked

# glibc, libgcc and the certificates of public authorities, of the same Debian as the builder.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=builder /build/target/dist/usher /usher
COPY LICENSE /LICENSE
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENV USHER_CONFIG=/etc/usher/usher.yaml
EXPOSE 8080 9901
# Asks `admin` at its default, 127.0.0.1:9901; elsewhere, override it with `--admin ADDRESS`.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usher", "probe", "live"]
ENTRYPOINT ["/usher"]
CMD ["serve"]
