// Package report keeps the figures of a suite: as rows of JSON for programs
// and as a table for people.
package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is one figure.
type Row struct {
	Part    string  `json:"part"`
	Metric  string  `json:"metric"`
	Subject string  `json:"subject"` // what was measured, with its version
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	// Target is a bound like "<= 25"; empty for figures without one.
	Target string `json:"target,omitempty"`
	// OK tells whether the target was met; absent without one. Who adds a row as not OK has
	// a reason besides the value, which the note says.
	OK *bool `json:"ok,omitempty"`
	// Note says what a reader must know, or why there is no value.
	Note string `json:"note,omitempty"`
	// Skipped rows have no value.
	Skipped bool      `json:"skipped,omitempty"`
	At      time.Time `json:"at"`
}

// Report gathers rows. Not safe for concurrent use.
type Report struct {
	rows []Row
	log  io.Writer
}

// New returns a report that also tells each row to log as it comes.
func New(log io.Writer) *Report { return &Report{log: log} }

// Add adds a row. A target is "<= N" or ">= N"; anything else is a bug.
func (r *Report) Add(row Row) {
	row.At = time.Now().UTC().Truncate(time.Second)
	if math.IsNaN(row.Value) || math.IsInf(row.Value, 0) {
		row.Value, row.Skipped = 0, true
	}
	row.Value = significant(row.Value)
	if row.Target != "" && !row.Skipped {
		ok := meets(row.Value, row.Target) && (row.OK == nil || *row.OK)
		row.OK = &ok
	}
	r.rows = append(r.rows, row)
	fmt.Fprintf(r.log, "  %-44s %-28s %s\n", row.Metric, row.Subject, row.result())
}

// Failed counts the targets that were missed.
func (r *Report) Failed() int {
	n := 0
	for _, row := range r.rows {
		if row.OK != nil && !*row.OK {
			n++
		}
	}
	return n
}

// Len is how many rows there are.
func (r *Report) Len() int { return len(r.rows) }

func meets(v float64, target string) bool {
	op, bound, ok := strings.Cut(target, " ")
	limit, err := strconv.ParseFloat(bound, 64)
	if !ok || err != nil || (op != "<=" && op != ">=") {
		panic(fmt.Sprintf("BUG: target %q", target))
	}
	if op == "<=" {
		return v <= limit
	}
	return v >= limit
}

// significant keeps four digits: more would claim what no run repeats.
func significant(v float64) float64 {
	if v == 0 {
		return 0
	}
	if math.Abs(v) >= 1000 {
		return math.Round(v)
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	return rounded
}

func (row Row) result() string {
	if row.Skipped {
		return "skipped: " + row.Note
	}
	s := strconv.FormatFloat(row.Value, 'f', -1, 64)
	if row.Unit != "" {
		s += " " + row.Unit
	}
	if row.OK != nil {
		s += " (" + row.Target + " " + row.verdict() + ")"
	}
	if row.Note != "" {
		s += "  " + row.Note
	}
	return s
}

func (row Row) verdict() string {
	switch {
	case row.OK == nil:
		return ""
	case *row.OK:
		return "ok"
	}
	return "MISSED"
}

// Table writes the rows for people: the subjects of one metric below each
// other, otherwise in the order in which they came.
func (r *Report) Table(w io.Writer) error {
	parts, metrics := map[string]int{}, map[string]int{}
	for _, row := range r.rows {
		if _, ok := parts[row.Part]; !ok {
			parts[row.Part] = len(parts)
		}
		if key := row.Part + "\x00" + row.Metric; metrics[key] == 0 {
			metrics[key] = len(metrics) + 1
		}
	}
	rows := slices.Clone(r.rows)
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(parts[a.Part]-parts[b.Part], metrics[a.Part+"\x00"+a.Metric]-metrics[b.Part+"\x00"+b.Metric])
	})
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "part\tmetric\tsubject\tvalue\tunit\ttarget\t\tnote")
	part, metric := "", ""
	for _, row := range rows {
		value := strconv.FormatFloat(row.Value, 'f', -1, 64)
		if row.Skipped {
			value = "–"
		}
		shown, name := row.Part, row.Metric
		if shown == part {
			shown = ""
			if name == metric {
				name = ""
			}
		}
		part, metric = row.Part, row.Metric
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", shown, name, row.Subject, value, row.Unit, row.Target, row.verdict(), row.Note)
	}
	return tab.Flush()
}

// Write merges the rows into the file at path: parts that were run replace
// what the file has of them, other parts stay as they were.
func (r *Report) Write(path string) error {
	var old []Row
	switch text, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read earlier results: %w", err)
	default:
		if err := json.Unmarshal(text, &old); err != nil {
			return fmt.Errorf("read earlier results %s: %w", path, err)
		}
	}
	rows := slices.DeleteFunc(old, func(o Row) bool {
		return slices.ContainsFunc(r.rows, func(n Row) bool { return n.Part == o.Part })
	})
	rows = append(rows, r.rows...)
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
