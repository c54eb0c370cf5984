# Sealift as a static binary that runs as nobody in an image with nothing else
# but CA certificates. Read-only root file systems are fine: what roles write,
# they write below /var/lib/sealift.
ARG GO_VERSION=1.26.8
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=devel TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/sealift ./workers/sealift && \
    mkdir -p /out/data /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 --chmod=1777 /out/tmp /tmp
COPY --from=build /out/sealift /usr/local/bin/sealift
# A volume mounted here is the role's, because the directory is.
COPY --from=build --chown=65532:65532 /out/data /var/lib/sealift
WORKDIR /var/lib/sealift
ENV SEALIFT_APPENDER_DATA_DIR=/var/lib/sealift/appender \
    SEALIFT_COPIER_SPOOL_DIR=/var/lib/sealift
USER 65532:65532
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/sealift", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/sealift"]
CMD ["all"]
