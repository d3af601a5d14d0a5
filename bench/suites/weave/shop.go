package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/bench/proc"
)

// program builds the shop of a subject, or takes what has been built before.
func (s *run) program(ctx context.Context, subject string) (string, error) {
	if path, ok := s.programs[subject]; ok {
		return path, nil
	}
	var path string
	switch subject {
	case subjectSDK:
		path = filepath.Join(s.Dir, "sdkshop")
		cmd := exec.CommandContext(ctx, "go", "build", "-o", path, ".")
		cmd.Dir = filepath.Join(s.Repo, "examples/shop")
		cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build the shop with the SDK: %w\n%s", err, text)
		}
	default:
		v := s.plain
		if subject == subjectWoven {
			v = s.woven
		}
		if _, err := v.make(ctx); err != nil {
			return "", err
		}
		path = v.output()
	}
	s.programs[subject] = path
	return path, nil
}

// shop is the services of a subject, running. The cache and the payment provider
// send nothing and are not counted.
type shop struct {
	services           []*proc.Process
	others             []*proc.Process
	gateway, inventory string // addresses
}

// open starts a shop that sends to a receiver.
func (s *run) open(ctx context.Context, subject, receiver string) (_ *shop, err error) {
	program, err := s.program(ctx, subject)
	if err != nil {
		return nil, err
	}
	standIns, err := s.program(ctx, subjectSDK)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.Dir, "shop-")
	if err != nil {
		return nil, err
	}
	addrs, err := proc.FreePorts(6)
	if err != nil {
		return nil, err
	}
	sh := &shop{gateway: addrs[4], inventory: addrs[2]}
	defer func() {
		if err != nil {
			sh.close()
		}
	}()
	args := []string{"-stocktake=0", "-sales=1000", "-payment-timeout=10s", "-database=" + filepath.Join(dir, "shop.db")}
	for i, name := range []string{"cache", "payment", "inventory", "order", "gateway"} {
		args = append(args, "-"+name+"="+addrs[i])
	}
	for i, name := range []string{"cache", "payment", "inventory", "order", "gateway"} {
		c := proc.Command{Path: program, Args: append([]string{name}, args...), Log: filepath.Join(dir, name+".log"),
			Env: []string{"OTEL_SERVICE_NAME=" + name, "OTEL_EXPORTER_OTLP_ENDPOINT=" + receiver, "OTEL_TRACES_SAMPLER=always_on",
				"OTEL_BSP_SCHEDULE_DELAY=500", "OTEL_BLRP_SCHEDULE_DELAY=500", "OTEL_METRIC_EXPORT_INTERVAL=60000"}}
		if i < 2 {
			c.Path = standIns
		}
		if name == "cache" {
			c.Args = append(c.Args, "-cache-metrics="+addrs[5])
		}
		p, err := proc.Start(c)
		if err != nil {
			return nil, err
		}
		if i < 2 {
			sh.others = append(sh.others, p)
		} else {
			sh.services = append(sh.services, p)
		}
		if err := listening(ctx, p, addrs[i]); err != nil {
			return nil, err
		}
	}
	return sh, nil
}

// listening waits until a process takes connections.
func listening(ctx context.Context, p *proc.Process, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on %s: %w\n%s", addr, err, p.Tail())
		}
		if !p.Running() {
			return fmt.Errorf("a service has ended:\n%s", p.Tail())
		}
	}
}

// cpu is what the services have used so far.
func (sh *shop) cpu() (sum time.Duration) {
	for _, p := range sh.services {
		sum += p.CPU()
	}
	return sum
}

// close stops the services in order, so that they send what they have.
func (sh *shop) close() {
	for i := len(sh.services) - 1; i >= 0; i-- {
		_, _ = sh.services[i].Stop()
	}
	for _, p := range sh.others {
		p.Kill()
	}
}

// receiver takes OTLP over HTTP, and counts spans if it is to.
type receiver struct {
	url             string
	count           bool
	exports         atomic.Int64 // requests with spans
	servers, others atomic.Int64 // spans by kind
	failed          atomic.Int64 // requests that are not understood
}

func listen(count bool) (*receiver, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	r := &receiver{url: "http://" + l.Addr().String(), count: count}
	server := &http.Server{Handler: r}
	go func() { _ = server.Serve(l) }()
	return r, func() { _ = server.Close() }, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path == "/v1/traces" {
		r.exports.Add(1)
	}
	if !r.count || q.URL.Path != "/v1/traces" {
		_, _ = io.Copy(io.Discard, q.Body)
		return
	}
	if err := r.take(q); err != nil {
		r.failed.Add(1)
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (r *receiver) take(q *http.Request) error {
	var body io.Reader = q.Body
	if q.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(q.Body)
		if err != nil {
			return err
		}
		body = z
	}
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(body); err != nil {
		return err
	}
	var req collectortrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(buf.Bytes(), &req); err != nil {
		return err
	}
	for _, rs := range req.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, span := range ss.Spans {
				if span.Kind == tracepb.Span_SPAN_KIND_SERVER {
					r.servers.Add(1)
				} else {
					r.others.Add(1)
				}
			}
		}
	}
	return nil
}
