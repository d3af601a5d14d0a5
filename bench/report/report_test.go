package report

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, path string) []Row {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestTargets(t *testing.T) {
	f := func(value float64, target string, want bool) {
		t.Helper()
		r := New(io.Discard)
		r.Add(Row{Metric: "m", Value: value, Target: target})
		if got := *r.rows[0].OK; got != want {
			t.Errorf("%v %s is %v, want %v", value, target, got, want)
		}
		if missed := r.Failed() == 1; missed == want {
			t.Errorf("%v %s: missed is %v", value, target, missed)
		}
	}
	f(25, "<= 25", true)
	f(25.01, "<= 25", false)
	f(80000, ">= 80000", true)
	f(79999, ">= 80000", false)
	f(0, "<= 0", true)
	// What is shown decides, so that no row contradicts itself.
	f(25.004, "<= 25", true)
}

func TestRowsWithoutTargetOrValueAreNotJudged(t *testing.T) {
	r := New(io.Discard)
	r.Add(Row{Metric: "peer", Value: 7})
	r.Add(Row{Metric: "skipped", Target: "<= 1", Skipped: true, Note: "not built"})
	r.Add(Row{Metric: "no spans", Value: zero() / zero(), Target: "<= 1"})
	for _, row := range r.rows {
		if row.OK != nil {
			t.Errorf("%s is judged", row.Metric)
		}
	}
	if !r.rows[2].Skipped {
		t.Error("a figure that is not a number counts as measured")
	}
}

func zero() float64 { return 0 }

func TestWriteKeepsPartsThatWereNotRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results", "x.json")
	first := New(io.Discard)
	first.Add(Row{Part: "ingest", Metric: "a", Value: 1})
	first.Add(Row{Part: "soak", Metric: "b", Value: 2})
	if err := first.Write(path); err != nil {
		t.Fatal(err)
	}
	second := New(io.Discard)
	second.Add(Row{Part: "ingest", Metric: "c", Value: 3, Target: "<= 4"})
	if err := second.Write(path); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range read(t, path) {
		got = append(got, row.Part+" "+row.Metric)
	}
	if want := []string{"soak b", "ingest c"}; !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := second.Write(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names the broken file", err)
	}
}

func TestTablePutsSubjectsOfAMetricTogether(t *testing.T) {
	r := New(io.Discard)
	r.Add(Row{Part: "ingest", Metric: "cpu", Subject: "guanlan", Value: 20})
	r.Add(Row{Part: "ingest", Metric: "disk", Subject: "guanlan", Value: 60})
	r.Add(Row{Part: "query", Metric: "trace", Subject: "guanlan", Value: 4})
	r.Add(Row{Part: "ingest", Metric: "cpu", Subject: "peer", Value: 200})
	var b strings.Builder
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{"part metric subject value unit target note", "ingest cpu guanlan 20", "peer 200", "disk guanlan 60", "query trace guanlan 4"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
