package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/guanlan-io/guanlan/bench/gen"
	"github.com/guanlan-io/guanlan/bench/load"
	"github.com/guanlan-io/guanlan/bench/report"
)

// question is one kind of query, asked many times with other values.
type question struct {
	metric   string
	p50, p95 string // targets; empty for none
	times    int
	// url returns what to get for sample i, and how to see from the answer
	// that it is right.
	url   func(i int) string
	check func(i int, answer []byte) error
}

// sample is a span that questions are about.
type sample struct {
	gen.Span
	traceID string
}

// samples draws spans from all over the plan: slow enough to be searched for
// by duration, the same ones in every run.
func (s *run) samples(n int, slowerThan time.Duration) []sample {
	r := rand.New(rand.NewPCG(11, 11))
	m := s.plan.Maker()
	var all []sample
	for len(all) < n {
		spans := m.Shape(r.IntN(s.plan.Batches()))
		for range 50 {
			if x := spans[r.IntN(len(spans))]; x.End-x.Start > int64(slowerThan) {
				all = append(all, sample{x, fmt.Sprintf("%x", x.TraceID)})
				break
			}
		}
	}
	return all
}

// spansOf counts the planned spans of each service.
func (s *run) spansOf() map[string]uint64 {
	m, n := s.plan.Maker(), map[string]uint64{}
	for i := range s.plan.Batches() {
		for _, x := range m.Shape(i) {
			n[x.Service]++
		}
	}
	return n
}

// slow is the duration that searches ask for.
const slow = 100 * time.Millisecond

// client keeps connections, as browsers and Grafana do.
var client = &http.Client{Timeout: time.Minute}

var errMissing = errors.New("404 Not Found")

// get returns an answer and how long it took until its last byte.
func get(ctx context.Context, url string) ([]byte, time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	took := time.Since(began)
	switch {
	case err != nil || response.StatusCode == http.StatusOK:
	case response.StatusCode == http.StatusNotFound:
		err = fmt.Errorf("get %s: %w: %.300s", url, errMissing, body)
	default:
		err = fmt.Errorf("get %s: %s: %.300s", url, response.Status, body)
	}
	return body, took, err
}

// ask measures questions one at a time. while is empty, or says what else the
// server does; p50 targets hold for a server at rest only.
func (s *run) ask(ctx context.Context, v *server, while string, questions []question) error {
	say("ask %s%s", v.title, while)
	for _, q := range questions {
		var all load.Latencies
		var wrong error
		// The first tenth warms what a server that ran for a while has warm.
		for i := -q.times / 10; i < q.times; i++ {
			n := (i + q.times) % q.times
			answer, took, err := get(ctx, q.url(n))
			if err != nil {
				return fmt.Errorf("%s: %w", q.metric, err)
			}
			if err := q.check(n, answer); err != nil && wrong == nil {
				wrong = fmt.Errorf("%s: %w: %.200s", q.url(n), err, answer)
			}
			if i >= 0 {
				all = append(all, took)
			}
		}
		if wrong != nil {
			s.Report.Add(report.Row{Part: "query", Metric: q.metric + while, Subject: v.title, Skipped: true, Note: "wrong answer: " + wrong.Error()})
			if v.title == "guanlan" {
				return fmt.Errorf("wrong answer to %s: %w", q.metric, wrong)
			}
			continue
		}
		row := report.Row{Part: "query", Subject: v.title, Unit: "ms", Note: fmt.Sprintf("%d times", q.times)}
		if while == "" {
			row.Metric, row.Value, row.Target = q.metric+" p50", millis(all.Quantile(0.5)), q.p50
			s.Report.Add(row)
		}
		row.Metric, row.Value, row.Target = q.metric+" p95"+while, millis(all.Quantile(0.95)), q.p95
		s.Report.Add(row)
	}
	return nil
}

// askWhileLoading asks the same while live spans come in.
func (s *run) askWhileLoading(ctx context.Context, v *server) error {
	from, to := s.plan.Start().Add(-time.Minute), time.Now().Add(time.Hour)
	before, err := countGuanlan(ctx, v, from, to)
	if err != nil {
		return fmt.Errorf("count: %w", err)
	}
	flowing, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		load.Result
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		r, _, err := s.flow(flowing, v, time.Hour, liveBatch, false)
		done <- outcome{r, err}
	}()
	err = s.ask(ctx, v, ", 10k spans/s coming in", guanlanQuestions(s, v))
	cancel()
	o := <-done
	if err = errors.Join(err, o.err); err != nil {
		return err
	}
	s.Report.Add(report.Row{
		Part: "query", Metric: "rate while asking", Subject: v.title, Value: o.PerSecond(), Unit: "spans/s",
		Note: fmt.Sprintf("acknowledgement p99 %.1f ms; %d requests sent again", millis(o.Latencies.Quantile(0.99)), o.Retries),
	})
	after, took, err := settledCount(ctx, v, countGuanlan, from, to, before+o.Acked)
	if err != nil {
		return err
	}
	s.Report.Add(report.Row{
		Part: "query", Metric: "acknowledged but not found", Subject: v.title, Value: float64(before + o.Acked - after), Unit: "spans", Target: "<= 0",
		Note: fmt.Sprintf("%d before, %d acknowledged, %d found %.1f s after the last one", before, o.Acked, after, took.Seconds()),
	})
	return nil
}

// guanlanQuestions ask Guanlan's own API.
func guanlanQuestions(s *run, v *server) []question {
	slowest, any := s.samples(200, slow), s.samples(200, 0)
	services, perService := s.plan.Services(), s.spansOf()
	window := url.Values{"start": {strconv.FormatInt(s.plan.Start().Unix(), 10)}, "end": {strconv.FormatInt(s.plan.End().Unix()+60, 10)}}
	api := func(path, filter string) string {
		q := url.Values{"start": window["start"], "end": window["end"]}
		if filter != "" {
			q.Set("filter", filter)
		}
		return v.http + "/guanlan/v1" + path + "?" + q.Encode()
	}
	// Live spans lie at the window's end: answers may hold more, never less.
	heat := func(want func(i int) uint64) func(int, []byte) error {
		return func(i int, answer []byte) error {
			var h struct{ Cells []struct{ Count uint64 } }
			if err := json.Unmarshal(answer, &h); err != nil {
				return err
			}
			var n uint64
			for _, c := range h.Cells {
				n += c.Count
			}
			if n < want(i) {
				return fmt.Errorf("%d spans counted, want %d", n, want(i))
			}
			return nil
		}
	}
	found := func(_ int, answer []byte) error {
		var l struct {
			Traces []struct{ TraceID string }
		}
		if err := json.Unmarshal(answer, &l); err != nil {
			return err
		}
		if len(l.Traces) == 0 {
			return errors.New("no trace found, want one at least")
		}
		return nil
	}
	return []question{
		{"trace by id", "<= 5", "<= 10", 200,
			func(i int) string { return v.http + "/guanlan/v1/traces/" + any[i].traceID },
			func(i int, answer []byte) error {
				var t struct {
					TraceID  string
					SpanList []json.RawMessage
				}
				if err := json.Unmarshal(answer, &t); err != nil {
					return err
				}
				if t.TraceID != any[i].traceID || len(t.SpanList) != gen.SpansPerTrace {
					return fmt.Errorf("%d spans of trace %s, want %d of %s", len(t.SpanList), t.TraceID, gen.SpansPerTrace, any[i].traceID)
				}
				return nil
			}},
		{"search service, operation, duration", "<= 25", "<= 50", 100,
			func(i int) string {
				return api("/traces", fmt.Sprintf("service.name = %q and name = %q and duration > %v", slowest[i].Service, slowest[i].Name, slow))
			}, found},
		{"search attribute over 6 h", "<= 30", "<= 50", 100,
			func(i int) string { return api("/traces", fmt.Sprintf("user.id = %q", gen.UserID(any[i].User))) }, found},
		{"heat map, all spans", "<= 40", "", 40,
			func(int) string { return api("/traces/heatmap", "") },
			heat(func(int) uint64 { return uint64(s.plan.Spans()) })},
		{"heat map, one service", "<= 10", "", 40,
			func(i int) string {
				return api("/traces/heatmap", fmt.Sprintf("service.name = %q", services[i%len(services)]))
			},
			heat(func(i int) uint64 { return perService[services[i%len(services)]] })},
	}
}

// visibleWithin bounds the wait for acknowledged rows to be found.
const visibleWithin = 20 * time.Second

// settledCount counts until it finds as many as wanted: engines gather rows
// for a moment before queries see them. It returns the last count, with how
// long it took to get there.
func settledCount(ctx context.Context, v *server, count counter, from, to time.Time, want int64) (found int64, took time.Duration, err error) {
	began := time.Now()
	for {
		if found, err = count(ctx, v, from, to); err != nil {
			return 0, 0, fmt.Errorf("count: %w", err)
		}
		if took = time.Since(began); found >= want || took > visibleWithin {
			return found, took, nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
}

// countGuanlan counts rows: a condition on duration cannot be answered from
// the rollup.
func countGuanlan(ctx context.Context, v *server, from, to time.Time) (int64, error) {
	q := url.Values{
		"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)},
		// Guanlan's own spans must not count.
		"filter": {`duration >= 0ns and service.name != "guanlan"`},
	}
	answer, _, err := get(ctx, v.http+"/guanlan/v1/traces/heatmap?"+q.Encode())
	if err != nil {
		return 0, err
	}
	var h struct{ Cells []struct{ Count int64 } }
	if err := json.Unmarshal(answer, &h); err != nil {
		return 0, fmt.Errorf("read heat map: %w", err)
	}
	var n int64
	for _, c := range h.Cells {
		n += c.Count
	}
	return n, nil
}

// logsQL is the URL of a query of VictoriaLogs.
func logsQL(v *server, query string, from, to time.Time, limit int) string {
	q := url.Values{
		"query": {query},
		"start": {strconv.FormatInt(from.UnixNano(), 10)}, "end": {strconv.FormatInt(to.UnixNano(), 10)},
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return v.http + "/select/logsql/query?" + q.Encode()
}

func countVictoriaLogs(ctx context.Context, v *server, from, to time.Time) (int64, error) {
	answer, _, err := get(ctx, logsQL(v, "* | stats count() n", from, to, 0))
	if err != nil {
		return 0, err
	}
	var r struct{ N string }
	if err := json.Unmarshal(answer, &r); err != nil {
		return 0, fmt.Errorf("read count: %w", err)
	}
	return strconv.ParseInt(r.N, 10, 64)
}

func victoriaLogsQuestions(s *run, v *server) []question {
	slowest, any := s.samples(200, slow), s.samples(200, 0)
	services := s.plan.Services()
	from, to := s.plan.Start(), s.plan.End().Add(time.Minute)
	lines := func(least int) func(int, []byte) error {
		return func(_ int, answer []byte) error {
			if n := bytes.Count(answer, []byte("\n")); n < least {
				return fmt.Errorf("%d rows, want %d at least", n, least)
			}
			return nil
		}
	}
	const bands = " | math floor(ln(duration)*5.7707801635558535) as band | stats by (_time:3m, band) count() n"
	return []question{
		{"trace by id", "", "", 40,
			func(i int) string { return logsQL(v, "trace_id:="+any[i].traceID, from, to, 0) }, lines(gen.SpansPerTrace)},
		{"search service, operation, duration", "", "", 40,
			func(i int) string {
				return logsQL(v, fmt.Sprintf("{service.name=%q} name:=%q duration:>%d", slowest[i].Service, slowest[i].Name, slow.Nanoseconds()), from, to, 50)
			}, lines(1)},
		{"search attribute over 6 h", "", "", 40,
			func(i int) string { return logsQL(v, "user.id:="+strconv.Quote(gen.UserID(any[i].User)), from, to, 50) }, lines(1)},
		{"heat map, all spans", "", "", 10,
			func(int) string { return logsQL(v, "*"+bands, from, to, 0) }, lines(1)},
		{"heat map, one service", "", "", 20,
			func(i int) string {
				return logsQL(v, fmt.Sprintf("{service.name=%q}", services[i%len(services)])+bands, from, to, 0)
			}, lines(1)},
	}
}

// jaegerQuestions ask Jaeger's HTTP API. It has no heat map, and it searches
// attributes of one service only.
func jaegerQuestions(s *run, v *server) []question {
	slowest, any := s.samples(200, slow), s.samples(200, 0)
	traces := func(values url.Values) string {
		values.Set("start", strconv.FormatInt(s.plan.Start().Add(-time.Minute).UnixMicro(), 10))
		values.Set("end", strconv.FormatInt(s.plan.End().Add(time.Minute).UnixMicro(), 10))
		values.Set("limit", "50")
		return v.http + "/api/traces?" + values.Encode()
	}
	spans := func(least int) func(int, []byte) error {
		return func(_ int, answer []byte) error {
			var r struct {
				Data []struct{ Spans []json.RawMessage }
			}
			if err := json.Unmarshal(answer, &r); err != nil {
				return err
			}
			if len(r.Data) == 0 || len(r.Data[0].Spans) < least {
				return fmt.Errorf("%d traces, want one of %d spans", len(r.Data), least)
			}
			return nil
		}
	}
	return []question{
		{"trace by id", "", "", 40,
			func(i int) string { return v.http + "/api/traces/" + any[i].traceID }, spans(gen.SpansPerTrace)},
		{"search service, operation, duration", "", "", 20,
			func(i int) string {
				return traces(url.Values{"service": {slowest[i].Service}, "operation": {slowest[i].Name}, "minDuration": {slow.String()}})
			}, spans(1)},
		{"search attribute over 6 h", "", "", 20,
			func(i int) string {
				return traces(url.Values{"service": {any[i].Service}, "tags": {fmt.Sprintf(`{"user.id":%q}`, gen.UserID(any[i].User))}})
			}, spans(1)},
	}
}

// countLogs counts records in Guanlan.
func countLogs(ctx context.Context, v *server, from, to time.Time) (int64, error) {
	q := url.Values{"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)}}
	// Guanlan's own records must not count.
	q.Set("filter", `service.name != "guanlan"`)
	answer, _, err := get(ctx, v.http+"/guanlan/v1/logs/volume?"+q.Encode())
	if err != nil {
		return 0, err
	}
	var volume struct{ Series []struct{ Counts []int64 } }
	if err := json.Unmarshal(answer, &volume); err != nil {
		return 0, fmt.Errorf("read volume: %w", err)
	}
	var n int64
	for _, series := range volume.Series {
		for _, c := range series.Counts {
			n += c
		}
	}
	return n, nil
}
