package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUpShowsTargets scrapes by two receivers and asks the Prometheus door what
// is scraped.
func TestUpShowsTargets(t *testing.T) {
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, "# HELP jobs_total Jobs done.\n# TYPE jobs_total counter\njobs_total 5\n")
	}))
	t.Cleanup(exporter.Close)
	address := strings.TrimPrefix(exporter.URL, "http://")
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	nobody := fmt.Sprintf("127.0.0.1:%d", port)
	conf := filepath.Join(t.TempDir(), "scrape.yaml")
	if err := os.WriteFile(conf, []byte(`
receivers:
  prometheus:
    config:
      global: {scrape_interval: 200ms, scrape_timeout: 200ms}
      scrape_configs:
        - job_name: up
          static_configs: [{targets: ["`+address+`"]}]
        - job_name: down
          static_configs: [{targets: ["`+nobody+`"]}]
  prometheus/more:
    config:
      global: {scrape_interval: 200ms, scrape_timeout: 200ms}
      scrape_configs:
        - job_name: some
          static_configs: [{targets: ["`+address+`", "`+nobody+`"]}]
          relabel_configs: [{source_labels: [__address__], regex: "`+nobody+`", action: drop}]
service:
  pipelines:
    metrics:
      receivers: [otlp, prometheus, prometheus/more]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, t.TempDir(), "--config", "guanlan:default", "--config", conf)

	type target struct {
		ScrapePool, ScrapeURL, Health, LastError string
		Labels                                   map[string]string
	}
	type list struct {
		Status string
		Data   struct {
			ActiveTargets       []target
			DroppedTargets      []struct{ DiscoveredLabels map[string]string }
			DroppedTargetCounts map[string]int
		}
	}
	eventually(t, "targets", func() error {
		var l list
		if err := p.get("", "/api/v1/targets", nil, &l); err != nil {
			return err
		}
		var got []string
		for _, a := range l.Data.ActiveTargets {
			got = append(got, fmt.Sprintf("%s %s %s %s %v", a.ScrapePool, a.Labels["job"], a.ScrapeURL, a.Health, a.LastError != ""))
		}
		slices.Sort(got)
		want := []string{
			"down down http://" + nobody + "/metrics down true",
			"some some " + exporter.URL + "/metrics up false",
			"up up " + exporter.URL + "/metrics up false",
		}
		if d := cmp.Diff(want, got); d != "" {
			return errors.New(d)
		}
		if len(l.Data.DroppedTargets) != 1 || l.Data.DroppedTargets[0].DiscoveredLabels["__address__"] != nobody || l.Data.DroppedTargetCounts["some"] != 1 {
			return fmt.Errorf("dropped: got %v %v, want %s", l.Data.DroppedTargets, l.Data.DroppedTargetCounts, nobody)
		}
		return nil
	})
	var l list
	if err := p.get("", "/api/v1/targets", url.Values{"scrapePool": {"some"}, "state": {"active"}}, &l); err != nil || len(l.Data.ActiveTargets) != 1 || len(l.Data.DroppedTargets) != 0 {
		t.Errorf("targets of one pool: got %+v, %v", l, err)
	}
	var pools struct {
		Data struct{ ScrapePools []string }
	}
	if err := p.get("", "/api/v1/scrape_pools", nil, &pools); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"down", "up", "some"}, pools.Data.ScrapePools); d != "" {
		t.Errorf("scrape pools (-want +got):\n%s", d)
	}
	var metadata struct {
		Data []struct {
			Target             map[string]string
			Metric, Type, Help string
		}
	}
	if err := p.get("", "/api/v1/targets/metadata", url.Values{"metric": {"jobs_total"}}, &metadata); err != nil || len(metadata.Data) != 2 || metadata.Data[0].Help != "Jobs done." {
		t.Errorf("metadata: got %+v, %v", metadata, err)
	}
	if err := p.get("", "/api/v1/targets/metadata", url.Values{"metric": {"jobs_total"}, "limit": {"1"}}, &metadata); err != nil || len(metadata.Data) != 1 {
		t.Errorf("metadata up to 1: got %+v, %v", metadata, err)
	}
	var pool struct{ Data struct{ Yaml string } }
	if err := p.get("", "/api/v1/scrape_pools/config", url.Values{"scrapePool": {"some"}}, &pool); err != nil || !strings.Contains(pool.Data.Yaml, "job_name: some") {
		t.Errorf("configuration of a pool: got %+v, %v", pool, err)
	}
	// An error of all is told as Prometheus tells it.
	err = p.get("", "/api/v1/targets/metadata", url.Values{"match_target": {"{"}}, &metadata)
	if err == nil || !strings.Contains(err.Error(), " 400 ") || !strings.Contains(err.Error(), `"errorType":"bad_data"`) {
		t.Errorf("bad matcher: got %v", err)
	}
	// Scraped data belongs to the default tenant, and so do targets.
	if err := p.get("7", "/api/v1/targets", nil, &l); err != nil || len(l.Data.ActiveTargets) != 0 {
		t.Errorf("another tenant: got %+v, %v", l, err)
	}
	p.answersOnly(t, p.api, p.http, "http://"+p.grpc)
	p.healthy(t)
}

// answersOnly fails the test when the process tells of targets on a port that
// is not named: receivers open one each, which is to stay silent.
func (p *process) answersOnly(t *testing.T, named ...string) {
	t.Helper()
	ports, err := listening(p.cmd.Process.Pid)
	if err != nil {
		t.Skip("no list of ports here:", err)
	}
	silent := 0
	for _, port := range ports {
		base := "http://" + net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
		if slices.Contains(named, base) {
			continue
		}
		for _, path := range []string{"/api/v1/targets", "/api/v1/status/config", "/metrics"} {
			res, err := http.Get(base + path)
			if err != nil {
				t.Errorf("%s%s: %v", base, path, err)
				continue
			}
			res.Body.Close()
			if res.StatusCode != http.StatusNotFound {
				t.Errorf("%s%s: got %s, want 404", base, path, res.Status)
			}
		}
		silent++
	}
	if silent != 2 {
		t.Errorf("%d ports besides those named, want one for each receiver", silent)
	}
}

// listening returns the TCP ports on IPv4 on which a process listens.
func listening(pid int) (ports []int, err error) {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil, err
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil, err
	}
	inodes := map[string]bool{}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:[") {
			inodes[strings.Trim(to, "socket:[]")] = true
		}
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" || !inodes[f[9]] {
			continue
		}
		var ip, port int
		if _, err := fmt.Sscanf(f[1], "%x:%x", &ip, &port); err == nil {
			ports = append(ports, port)
		}
	}
	return ports, nil
}
