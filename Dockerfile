# All images of Souk: docker build --build-arg SERVICE=order -t souk.local/order .
# SERVICE is customer, order, product, payment, notification, stock, gateway, or souk (the command line).
#
# The services are compiled together in one layer that all images share, so the second image costs seconds. Programs are
# linked statically, and an image holds nothing but its program: no shell, no libraries, no package manager. Nothing in
# here names a processor, so that an arm64 machine should make arm64 images of it; only amd64 was ever built.
#
# With --build-arg FEATURES=kafka-tls the programs speak TLS and SASL/SCRAM to Kafka. OpenSSL is then compiled into them.

ARG RUST_IMAGE=rust:1.95-bookworm

# What decides which dependencies there are, and nothing else: the next stage is built again only if this changes.
FROM ${RUST_IMAGE} AS manifests
WORKDIR /src
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -name build.rs -delete \
 && for file in crates/*/src/lib.rs; do : >"$file"; done \
 && for file in crates/*/src/main.rs crates/*/build.rs; do echo 'fn main() {}' >"$file"; done \
 && for manifest in crates/*/Cargo.toml tests/Cargo.toml; do \
      for test in $(sed -n '/^\[\[test\]\]/{n;s/^name = "\(.*\)"/\1/p}' "$manifest"); do \
        mkdir -p "$(dirname "$manifest")/tests/$test" && : >"$(dirname "$manifest")/tests/$test/main.rs"; \
      done; \
    done \
 && mkdir -p tests/src tests/rules/src tests/simulator/src && : >tests/src/lib.rs && : >tests/rules/src/lib.rs && : >tests/simulator/src/main.rs

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# glibc inside the program. Paths of this machine stay out of it, so that the same commit gives the same bytes anywhere.
ENV RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/usr/local/cargo=cargo --remap-path-prefix=/src=souk"
# The tool itself is linked as usual: it wants procedural macros, which cannot be static.
RUN command -v cargo-cyclonedx || env -u RUSTFLAGS cargo install cargo-cyclonedx@0.5.9 --locked --root /usr/local
COPY --from=manifests /src .
ARG FEATURES=
RUN host=$(rustc -vV | sed -n 's/^host: //p') \
 && cargo build --locked --profile image --target "$host" --workspace --exclude fleet-tests --exclude rules --exclude simulator --exclude testkit --bins --features "$FEATURES"
COPY . .
ARG SOUK_COMMIT=unknown
# Cargo goes by times, and these files are older than what was compiled in their place above.
RUN host=$(rustc -vV | sed -n 's/^host: //p') \
 && find crates -name '*.rs' -exec touch {} + \
 && cargo build --locked --profile image --target "$host" --workspace --exclude fleet-tests --exclude rules --exclude simulator --exclude testkit --bins --features "$FEATURES" \
 && mkdir /programs && find "target/$host/image" -maxdepth 1 -type f -executable -exec cp {} /programs/ ';'
# No time and no random number in it, so that the same commit gives the same file.
RUN SOURCE_DATE_EPOCH=0 cargo cyclonedx --quiet --format json --spec-version 1.5 --target all --override-filename sbom ${FEATURES:+--features "$FEATURES"}

# The file system of one image. The program has its own name, and one that the lines below can know.
FROM build AS files
ARG SERVICE
RUN test -x "/programs/$SERVICE" || { echo "there is no service \"$SERVICE\""; exit 1; } \
 && mkdir -p /image/bin /image/etc/ssl/certs /image/usr/share/doc/souk \
 && cp "/programs/$SERVICE" /image/bin/ && ln -s "$SERVICE" /image/bin/service \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && cp LICENSE /image/usr/share/doc/souk/ && cp "crates/$SERVICE/sbom.json" /image/usr/share/doc/souk/sbom.cdx.json \
 && mkdir -m 0777 /image/tmp && mkdir /image/data && chown 65532:65532 /image/data

FROM scratch
ARG SERVICE
ARG SOUK_COMMIT=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="souk/${SERVICE}" \
      org.opencontainers.image.description="The ${SERVICE} of Souk, the back office of a retailer with several shops" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${SOUK_COMMIT}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=files /image /
USER 65532:65532
ENV SOUK_DATA=/data
WORKDIR /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/bin/service", "healthcheck"]
ENTRYPOINT ["/bin/service"]
