package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/bench/gen"
	"github.com/guanlan-io/guanlan/bench/load"
	"github.com/guanlan-io/guanlan/bench/proc"
)

// peer is a program that Guanlan is compared with, built from its module.
type peer struct {
	subject string // as in -subjects
	title   string // with version, as the table shows it
	module  string // folder below peers with the go.mod that pins it
	pkg     string
	tags    string
	cgo     bool
}

var (
	// As its releases are built: compression in C. Without cgo its data is a
	// third larger; that variant is the engine as Guanlan can have it.
	victoriaLogs   = peer{"victorialogs", "VictoriaLogs 1.43.1", "victorialogs", "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs", "", true}
	victoriaLogsGo = peer{"victorialogs-purego", "VictoriaLogs 1.43.1 pure Go", "victorialogs", "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs", "", false}
	// Tags v1.76.0 and v2.13.0 of Jaeger name the same commit; the module
	// path only admits the former. cmd/jaeger is version 2.
	jaeger = peer{"jaeger", "Jaeger 2.13.0 Badger", "jaeger", "github.com/jaegertracing/jaeger/cmd/jaeger", "", false}
	// Version 0.315.0 of the module is 3.15.0 of the program. Without the tag,
	// service discovery of a dozen clouds would be linked in.
	prometheus = peer{"prometheus", "Prometheus 3.15.0", "prometheus", "github.com/prometheus/prometheus/cmd/prometheus", "remove_all_sd", false}
)

// build returns the program, building it when it is not there yet.
func (s *run) build(ctx context.Context, p peer) (string, error) {
	path := filepath.Join(s.bin, p.subject)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := goBuild(ctx, "build "+p.title, filepath.Join("peers", p.module), path, p.pkg, p.tags, "-s -w", p.cgo); err != nil {
		return "", fmt.Errorf("%w: %w", proc.ErrNoProgram, err)
	}
	return path, nil
}

// goBuild builds a program outside of any workspace and tells that it is
// still at it.
func goBuild(ctx context.Context, what, dir, out, pkg, tags, ldflags string, cgo bool) error {
	say("%s (minutes when its modules are not cached)", what)
	began := time.Now()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", tags, "-ldflags", ldflags, "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	if cgo {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1")
	}
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(15 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				say("  … %v", time.Since(began).Round(time.Second))
			case <-done:
				return
			}
		}
	}()
	text, err := cmd.CombinedOutput()
	close(done)
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("%s: %w: %s", what, err, strings.Join(lines[max(0, len(lines)-4):], "; "))
	}
	say("  built in %v", time.Since(began).Round(time.Second))
	return nil
}

// server is one running server under test.
type server struct {
	title string
	dir   string // its data
	http  string // base URL of its queries
	ready string // URL that answers 200 when it is ready
	spans load.Send
	logs  load.Send // nil when it takes no logs
	form  gen.Form
	close func() error // its connection; nil when there is none

	command proc.Command
	proc    *proc.Process
	took    time.Duration // from start to ready
}

// readyWithin bounds the wait for a server.
const readyWithin = 2 * time.Minute

// start starts the server, again if it was stopped, and waits until it is
// ready.
func (v *server) start(ctx context.Context) error {
	if err := os.MkdirAll(v.dir, 0o755); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	p, err := proc.Start(v.command)
	if err != nil {
		return err
	}
	v.proc = p
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, errors.New("not ready in time"))
	defer cancel()
	if v.took, err = p.Ready(ctx, v.ready); err != nil {
		p.Kill()
		return err
	}
	return nil
}

// end kills the server and removes its data; for defer.
func (v *server) end() {
	if v.close != nil {
		v.close()
	}
	if v.proc != nil {
		v.proc.Kill()
	}
	os.RemoveAll(v.dir)
}

// startGuanlan starts Guanlan as users do, on free ports and an empty folder.
func (s *run) startGuanlan(ctx context.Context, name string) (*server, error) {
	if _, err := os.Stat(s.Guanlan); err != nil {
		return nil, fmt.Errorf("program under test: %w (make build makes it)", err)
	}
	at, err := proc.FreePorts(3)
	if err != nil {
		return nil, err
	}
	v := &server{title: "guanlan", dir: filepath.Join(s.Dir, name), http: "http://" + at[0], ready: "http://" + at[0] + "/-/ready"}
	v.command = proc.Command{
		Path: s.Guanlan,
		Args: []string{"up", "--data", v.dir},
		Env:  []string{"GUANLAN_ENDPOINT=" + at[0], "GUANLAN_OTLP_GRPC=" + at[1], "GUANLAN_OTLP_HTTP=" + at[2]},
		Dir:  s.Dir, Log: filepath.Join(s.Dir, name+".log"),
	}
	return v, v.dial(ctx, at[1])
}

// dial starts the server and connects to its OTLP/gRPC receiver.
func (v *server) dial(ctx context.Context, otlp string) error {
	if err := v.start(ctx); err != nil {
		v.end()
		return err
	}
	o, err := load.DialOTLP(otlp)
	if err != nil {
		v.end()
		return err
	}
	v.spans, v.logs, v.close = o.Traces, o.Logs, o.Close
	return nil
}

func (s *run) startVictoriaLogs(ctx context.Context, p peer) (*server, error) {
	path, err := s.build(ctx, p)
	if err != nil && p.cgo && ctx.Err() == nil {
		say("  %v; try without cgo", err)
		p = victoriaLogsGo
		path, err = s.build(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	at, err := proc.FreePorts(1)
	if err != nil {
		return nil, err
	}
	v := &server{title: p.title, dir: filepath.Join(s.Dir, p.subject), http: "http://" + at[0], ready: "http://" + at[0] + "/health", form: gen.Rows}
	v.command = proc.Command{
		Path: path,
		Args: []string{"-storageDataPath=" + v.dir, "-httpListenAddr=" + at[0], "-loggerLevel=WARN"},
		Dir:  s.Dir, Log: filepath.Join(s.Dir, p.subject+".log"),
	}
	if err := v.start(ctx); err != nil {
		v.end()
		return nil, err
	}
	// Streams like Guanlan's: one for each service.
	v.spans = load.Post(v.http+"/insert/opentelemetry/v1/logs", map[string][]string{
		"Content-Type": {"application/x-protobuf"}, "Vl-Stream-Fields": {"service.name"},
	})
	return v, nil
}

func (s *run) startJaeger(ctx context.Context, p peer) (*server, error) {
	path, err := s.build(ctx, p)
	if err != nil {
		return nil, err
	}
	at, err := proc.FreePorts(4)
	if err != nil {
		return nil, err
	}
	v := &server{title: p.title, dir: filepath.Join(s.Dir, p.subject), http: "http://" + at[1], ready: "http://" + at[3] + "/status"}
	config := filepath.Join(s.Dir, "jaeger.yaml")
	text := strings.NewReplacer("DIR", v.dir, "OTLP", at[0], "HTTP", at[1], "GRPC", at[2], "HEALTH", at[3]).Replace(jaegerConfig)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	v.command = proc.Command{Path: path, Args: []string{"--config", config}, Dir: s.Dir, Log: filepath.Join(s.Dir, p.subject+".log")}
	if err := v.dial(ctx, at[0]); err != nil {
		return nil, err
	}
	v.logs = nil
	return v, nil
}

// jaegerConfig is the configuration that Jaeger ships for Badger, without
// the archive, its own metrics and the user interface's settings.
const jaegerConfig = `
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [jaeger_storage_exporter]
  telemetry:
    metrics:
      level: none
    logs:
      level: warn
extensions:
  healthcheckv2:
    use_v2: true
    http:
      endpoint: HEALTH
  jaeger_query:
    storage:
      traces: some_store
    http:
      endpoint: HTTP
    grpc:
      endpoint: GRPC
  jaeger_storage:
    backends:
      some_store:
        badger:
          directories:
            keys: DIR/keys
            values: DIR/values
          ephemeral: false
          ttl:
            spans: 48h
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: OTLP
        max_recv_msg_size_mib: 32
processors:
  batch:
exporters:
  jaeger_storage_exporter:
    trace_storage: some_store
`

func (s *run) startPrometheus(ctx context.Context) (*server, error) {
	path, err := s.build(ctx, prometheus)
	title := prometheus.title
	if err != nil {
		// A distribution's program is the second choice.
		installed, missing := exec.LookPath("prometheus")
		if missing != nil {
			return nil, err
		}
		say("  %v; take %s instead", err, installed)
		path, title = installed, "Prometheus as installed"
		if text, err := exec.CommandContext(ctx, installed, "--version").CombinedOutput(); err == nil {
			if f := strings.Fields(string(text)); len(f) > 2 {
				title = "Prometheus " + f[2] + " as installed"
			}
		}
	}
	at, err := proc.FreePorts(1)
	if err != nil {
		return nil, err
	}
	v := &server{title: title, dir: filepath.Join(s.Dir, prometheus.subject), http: "http://" + at[0], ready: "http://" + at[0] + "/-/ready"}
	config := filepath.Join(s.Dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {}\n"), 0o644); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	v.command = proc.Command{
		Path: path,
		Args: []string{"--config.file=" + config, "--storage.tsdb.path=" + v.dir, "--web.listen-address=" + at[0], "--web.enable-remote-write-receiver", "--log.level=warn"},
		Dir:  s.Dir, Log: filepath.Join(s.Dir, prometheus.subject+".log"),
	}
	if err := v.start(ctx); err != nil {
		v.end()
		return nil, err
	}
	return v, nil
}
