package main

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// TestUpRefusesFiltersWithAPosition asks every field by every operator: what
// cannot be answered is refused where it stands, before it reaches the store.
func TestUpRefusesFiltersWithAPosition(t *testing.T) {
	p := start(t, t.TempDir())
	conn := p.dial(t)
	if _, err := ptraceotlp.NewGRPCClient(conn).Export(t.Context(), ptraceotlp.NewExportRequestFromTraces(spansOf("f", 2, time.Now(), nil))); err != nil {
		t.Fatal(err)
	}
	if _, err := plogotlp.NewGRPCClient(conn).Export(t.Context(), plogotlp.NewExportRequestFromLogs(logsOf("f", 2, time.Now(), nil))); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7", "parent_span_id": "00f067aa0ba902b7",
		"duration": "5ms", "kind": "server", "status": "ok", "severity": "warn", "root": "true",
	}
	fields := map[string][]string{
		"traces": {"trace_id", "span_id", "parent_span_id", "duration", "kind", "status", "root", "name", "service.name", "event.name", "http.route", "span.k", "resource.k"},
		"logs":   {"trace_id", "span_id", "severity", "severity_text", "body", "event_name", "service.name", "k", "log.k", "resource.k"},
	}
	answered := 0
	for signal, names := range fields {
		for _, field := range names {
			for _, op := range []string{"=", "!=", "=~", "!~", "<", "<=", ">", ">="} {
				value := values[field]
				if value == "" {
					value = "5"
				}
				before := "service.name = f and " + field + " "
				filter := before + op + " " + value
				var list any
				err := p.get("", "/guanlan/v1/"+signal, url.Values{"filter": {filter}}, &list)
				if err == nil {
					answered++
				} else if !strings.Contains(err.Error(), " 422 ") || !strings.Contains(err.Error(), fmt.Sprintf("at position %d: ", len(before)+1)) {
					t.Errorf("%s: %s: got %v, want an answer, or 422 with a position", signal, filter, err)
				}
			}
		}
	}
	if answered < 100 {
		t.Errorf("%d filters were answered, want most of them", answered)
	}
	var list any
	err := p.get("", "/guanlan/v1/traces", url.Values{"filter": {"trace_id =~ ^4bf"}}, &list)
	for _, want := range []string{"at position 10", "trace_id takes no pattern", "trace_id = "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// TestUpFindsLogAttributesByTheirName asks for attributes whose own names begin
// with the prefix of log attributes.
func TestUpFindsLogAttributesByTheirName(t *testing.T) {
	p := start(t, t.TempDir())
	logs := plogotlp.NewGRPCClient(p.dial(t))
	for _, l := range []labels{{{"log.file.name", "a.log"}, {"row", "a"}}, {{"file.name", "a.log"}, {"row", "b"}}, {{"log.file.name", "z.log"}, {"file.name", "z"}, {"row", "c"}}} {
		if _, err := logs.Export(t.Context(), plogotlp.NewExportRequestFromLogs(logsOf("files", 1, time.Now(), l))); err != nil {
			t.Fatal(err)
		}
	}
	for filter, want := range map[string]string{
		"log.file.name = a.log":     "ab",
		"log.file.name = z.log":     "c",
		"log.file.name = z":         "c",
		"log.file.name =~ ^a":       "ab",
		"log.file.name != a.log":    "c",
		"exists log.file.name":      "abc",
		"log.log.file.name = a.log": "a",
		"file.name = a.log":         "b",
	} {
		eventually(t, filter, func() error {
			rows, err := p.counts("", "logs", "row", filter)
			got := ""
			for _, row := range []string{"a", "b", "c"} {
				got += strings.Repeat(row, int(rows[row]))
			}
			if err == nil && got != want {
				err = fmt.Errorf("got rows %q, want %q", got, want)
			}
			return err
		})
	}
	p.healthy(t)
}
