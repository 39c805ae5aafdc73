# syntax=docker/dockerfile:1
# The BPF objects are committed, so that the builder needs Go alone; it runs on the builder's own machine and compiles
# for the target's.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY docs docs
COPY internal internal
ARG TARGETARCH
ARG VERSION=unknown
# nolab: what is shipped cannot inject faults.
RUN CGO_ENABLED=0 GOOS=linux GOARCH=$TARGETARCH go build -trimpath -tags nolab \
    -ldflags "-s -w -X main.version=$VERSION" -o /tracer ./cmd/tracer

# No shell, no libraries: one static binary.
FROM scratch
COPY LICENSE bpf/LICENSE.GPL-2.0 /
COPY --from=build /tracer /tracer
# Kubernetes gives a user other than 0 no ambient capabilities.
USER 0
ENTRYPOINT ["/tracer"]
CMD ["agent"]
