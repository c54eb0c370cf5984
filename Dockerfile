# Sealift as a binary that runs as an unprivileged user, in an image that contains only CA
# certificates and the libraries that the binary is linked with: ISA-L, which saves a third of the
# CPU time of writing files, and libc. If the build is for another architecture, or cannot reach
# Debian's packages, the binary is pure Go and static; `sealift version` shows which one it is. The
# root file system may be read-only: roles write only below /var/lib/sealift.
ARG GO_VERSION=1.26.8
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG BUILDARCH TARGETARCH
RUN if [ "$BUILDARCH" = "$TARGETARCH" ]; then apt-get update -q && apt-get install -yq --no-install-recommends libisal-dev || true; fi
ARG VERSION=devel TARGETOS
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    cgo=0 tags=; if [ -e /usr/include/isa-l.h ]; then cgo=1 tags=isal,netgo,osusergo; fi; \
    CGO_ENABLED=$cgo GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -tags "$tags" -ldflags "-s -w -X main.version=$VERSION" -o /out/root/usr/local/bin/sealift ./workers/sealift && \
    mkdir -p /out/data /out/tmp && \
    if [ $cgo = 1 ]; then \
      cp -L --parents $(ldd /out/root/usr/local/bin/sealift | grep -o '/[^ ]*') /usr/share/doc/libisal2/copyright /usr/share/doc/libc6/copyright /out/root; \
    fi

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 --chmod=1777 /out/tmp /tmp
COPY --from=build /out/root /
# A new volume mounted here gets the owner of this directory, so the roles can write to it.
COPY --from=build --chown=65532:65532 /out/data /var/lib/sealift
WORKDIR /var/lib/sealift
ENV SEALIFT_APPENDER_DATA_DIR=/var/lib/sealift/appender \
    SEALIFT_COPIER_SPOOL_DIR=/var/lib/sealift
USER 65532:65532
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/sealift", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/sealift"]
CMD ["all"]
