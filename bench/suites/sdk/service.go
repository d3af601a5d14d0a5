package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/guanlan-io/guanlan/bench/report"
)

// The small services in folder hello, built as one builds for production.
var services = []struct{ folder, subject string }{{"bare", "net/http alone"}, {"guanlan", subjectOurs}, {"stock", subjectStock}}

// service measures what the SDK adds to a small service: to its binary, and to
// the time of its requests.
func (s *run) service(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bench-sdk")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var bare int64
	for i, v := range services {
		path := filepath.Join(dir, v.folder)
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./suites/sdk/hello/"+v.folder)
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", v.folder, err, out)
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if i == 0 {
			bare = info.Size()
			continue
		}
		row := report.Row{Part: "service", Metric: "added to a small HTTP service, stripped", Subject: v.subject, Value: float64(info.Size()-bare) / 1e6, Unit: "MB"}
		if v.subject == subjectOurs {
			row.Target, row.Note = "<= 3", fmt.Sprintf("over the bare service's %.1f MB", float64(bare)/1e6)
		}
		s.Report.Add(row)
	}
	return s.latency(ctx, dir)
}

const (
	latencyRate    = 10_000 // requests a second
	latencyClients = 32     // connections
	latencyRounds  = 9      // of each service, one after the other
	latencyFor     = 3 * time.Second
)

// latency offers each service requests at a steady rate, in turns, and compares
// the medians of their 99th percentiles: the machine's mood is then the same for
// all.
func (s *run) latency(ctx context.Context, dir string) error {
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer receiver.Close()
	all := make([][]float64, len(services))
	addrs := make([]string, len(services))
	for i, v := range services {
		cmd := exec.CommandContext(ctx, filepath.Join(dir, v.folder))
		cmd.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.01")
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
		addr, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return fmt.Errorf("read the address of %s: %w", v.folder, err)
		}
		addrs[i] = strings.TrimSpace(addr)
	}
	for round := range latencyRounds + 1 {
		for i := range services {
			p99, err := offer(ctx, addrs[i])
			if err != nil {
				return err
			}
			if round > 0 { // the first one warms up
				all[i] = append(all[i], p99)
			}
		}
	}
	var bare float64
	for i, v := range services {
		slices.Sort(all[i])
		p99 := all[i][len(all[i])/2]
		s.Report.Add(report.Row{Part: "service", Metric: "P99 at 10k requests/s", Subject: v.subject, Value: p99 * 1e6, Unit: "µs",
			Note: fmt.Sprintf("rounds from %.0f to %.0f", all[i][0]*1e6, all[i][len(all[i])-1]*1e6)})
		if i == 0 {
			bare = p99
			continue
		}
		row := report.Row{Part: "service", Metric: "P99 at 10k requests/s, over bare", Subject: v.subject, Value: 100 * (p99 - bare) / bare, Unit: "%"}
		if v.subject == subjectOurs {
			row.Target = "<= 3"
		}
		s.Report.Add(row)
	}
	return nil
}

// offer sends requests at a steady rate for a while and returns the 99th
// percentile of their times in seconds, from when they were sent; from when they
// were due if it was the service that held them up. Its client is as light as can
// be, as it shares the machine with the service.
func offer(ctx context.Context, addr string) (p99 float64, err error) {
	var mu sync.Mutex
	var took []float64
	var wg sync.WaitGroup
	gap := time.Second * latencyClients / latencyRate
	began := time.Now().Add(10 * time.Millisecond)
	for c := range latencyClients {
		wg.Go(func() {
			own, e := call(ctx, addr, began.Add(gap*time.Duration(c)/latencyClients), gap)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
			err = errors.Join(err, e)
		})
	}
	wg.Wait()
	if err = errors.Join(err, ctx.Err()); err != nil || len(took) == 0 {
		return 0, err
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}

// call sends requests over one connection.
func call(ctx context.Context, addr string, first time.Time, gap time.Duration) (took []float64, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request := []byte("GET /orders/4711 HTTP/1.1\r\nHost: " + addr + "\r\nUser-Agent: bench/1.0\r\n\r\n")
	answers := bufio.NewReader(conn)
	var done time.Time
	for n := 0; ctx.Err() == nil; n++ {
		due := first.Add(gap * time.Duration(n))
		if due.Sub(first) > latencyFor {
			return took, nil
		}
		from := due
		if done.Before(due) {
			time.Sleep(time.Until(due))
			from = time.Now()
		}
		if _, err := conn.Write(request); err != nil {
			return took, err
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			return took, err
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			return took, fmt.Errorf("the service answers %s, error %w", res.Status, err)
		}
		done = time.Now()
		took = append(took, done.Sub(from).Seconds())
	}
	return took, nil
}
