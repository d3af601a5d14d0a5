package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guanlan is the real one, running.
type guanlan struct{ otlp, api string }

// startGuanlan runs a binary of Guanlan until the test ends.
func startGuanlan(t *testing.T, binary string) *guanlan {
	t.Helper()
	dir := t.TempDir()
	addrs := freeAddrs(t, 3)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "up", "--data", filepath.Join(dir, "data"))
	cmd.Env = append(os.Environ(), "GUANLAN_ENDPOINT="+addrs[0], "GUANLAN_OTLP_HTTP="+addrs[1], "GUANLAN_OTLP_GRPC="+addrs[2])
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("guanlan ended with %v and wrote:\n%s", err, text)
		}
	})
	g := &guanlan{otlp: "http://" + addrs[1], api: "http://" + addrs[0]}
	eventually(t, func() string {
		resp, err := http.Get(g.api + "/-/ready")
		if err != nil {
			return err.Error()
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return "Guanlan is " + resp.Status
		}
		return ""
	})
	return g
}

func freeAddrs(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// eventually asks until nothing is missing.
func eventually(t *testing.T, missing func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		what := missing()
		if what == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("still missing: %s", what)
		}
	}
}

// get asks the API; false when there is no such thing yet.
func (g *guanlan) get(t *testing.T, path string, query url.Values, into any) bool {
	t.Helper()
	resp, err := http.Get(g.api + "/guanlan/v1" + path + "?" + query.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return false
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", path, resp.Status, err)
	}
	return true
}

// seen is a span as Guanlan shows it, seenLog a log record.
type (
	seen struct {
		SpanID, ParentSpanID, Service, Kind, Name, Status string
		OffsetNs                                          int64
		Events                                            []struct{ Name string }
	}
	seenLog struct{ TraceID, SpanID, Service, Severity, Body string }
)

// trace renders a trace with its log records: a span a line, below its parent in
// order of start, then its records in order of time.
func (g *guanlan) trace(t *testing.T, id string) string {
	t.Helper()
	var whole struct{ SpanList []seen }
	if !g.get(t, "/traces/"+id, nil, &whole) {
		return ""
	}
	known := map[string]bool{}
	for _, s := range whole.SpanList {
		known[s.SpanID] = true
	}
	children := map[string][]seen{}
	for _, s := range whole.SpanList {
		if !known[s.ParentSpanID] {
			s.ParentSpanID = ""
		}
		children[s.ParentSpanID] = append(children[s.ParentSpanID], s)
	}
	records := map[string][]seenLog{}
	for _, l := range g.logs(t, "trace_id = "+id) {
		records[l.SpanID] = append(records[l.SpanID], l)
	}
	var out strings.Builder
	var write func(parent, indent string)
	write = func(parent, indent string) {
		slices.SortFunc(children[parent], func(a, b seen) int { return cmp.Compare(a.OffsetNs, b.OffsetNs) })
		for _, s := range children[parent] {
			fmt.Fprintf(&out, "%s%s %s: %s", indent, s.Service, s.Kind, s.Name)
			if s.Status == "error" {
				out.WriteString(", failed")
			}
			out.WriteByte('\n')
			for _, e := range s.Events {
				fmt.Fprintf(&out, "%s  event %s\n", indent, e.Name)
			}
			write(s.SpanID, indent+"  ")
			for _, l := range records[s.SpanID] {
				fmt.Fprintf(&out, "%s  log %s %q\n", indent, l.Severity, l.Body)
			}
		}
	}
	write("", "")
	return out.String()
}

// logs returns the log records that meet a filter, oldest first.
func (g *guanlan) logs(t *testing.T, filter string) []seenLog {
	t.Helper()
	var list struct{ Logs []seenLog }
	g.get(t, "/logs", url.Values{"filter": {filter}, "limit": {"1000"}}, &list)
	slices.Reverse(list.Logs)
	return list.Logs
}

// roots returns the ids of the traces whose root spans meet a filter.
func (g *guanlan) roots(t *testing.T, filter string) (ids []string) {
	t.Helper()
	var list struct{ Traces []struct{ TraceID string } }
	g.get(t, "/traces", url.Values{"filter": {filter + " and root = true"}, "limit": {"1000"}}, &list)
	for _, one := range list.Traces {
		ids = append(ids, one.TraceID)
	}
	return ids
}
