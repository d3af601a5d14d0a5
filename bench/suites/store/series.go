package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/klauspost/compress/snappy"

	"github.com/guanlan-io/guanlan/bench/gen"
	"github.com/guanlan-io/guanlan/bench/load"
	"github.com/guanlan-io/guanlan/bench/proc"
	"github.com/guanlan-io/guanlan/bench/report"
)

const (
	scrape       = 15 * time.Second
	queried      = 30 * time.Minute
	rateOver     = 5 * time.Minute
	queryStep    = 30 * time.Second
	perRequest   = 2000 // samples: what Prometheus sends by default
	seriesLanes  = 2
	seriesAsked  = 10
	noWorse      = "<= 1.1" // a tenth is what two runs of the same program differ by
	seriesMetric = "sum by (job) (rate(" + gen.SeriesName + "[5m]))"
)

// answers is what a query must give alike on both sides.
type answers map[string][]float64

// metered is what metrics measured of one server.
type metered struct {
	append, query float64
	answers       answers
}

// metrics appends samples of many series by remote write, first to Guanlan,
// then to Prometheus, and asks both the same question.
func (s *run) metrics(ctx context.Context) error {
	var own, other metered
	end := time.Now().Truncate(scrape)
	if s.has("guanlan") {
		v, err := s.startGuanlan(ctx, "guanlan-series")
		if err != nil {
			return err
		}
		own, err = s.meter(ctx, v, end)
		v.end()
		if err != nil {
			return fmt.Errorf("guanlan: %w", err)
		}
	}
	if s.has("prometheus") {
		v, err := s.startPrometheus(ctx)
		if err == nil {
			other, err = s.meter(ctx, v, end)
			v.end()
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			s.Report.Add(report.Row{Part: "series", Metric: "append", Subject: prometheus.title, Skipped: true, Note: err.Error()})
			return nil
		}
	}
	if own.answers == nil || other.answers == nil {
		return nil
	}
	add := func(metric string, value float64, unit, target, note string) {
		s.Report.Add(report.Row{Part: "series", Metric: metric, Subject: "guanlan", Value: value, Unit: unit, Target: target, Note: note})
	}
	add("append CPU, ours to Prometheus'", own.append/other.append, "×", noWorse, "")
	add("sum by (job) (rate), ours to Prometheus'", own.query/other.query, "×", noWorse, "")
	add("values that differ from Prometheus'", float64(own.answers.differ(other.answers)), "", "<= 0", fmt.Sprintf("of %d", own.answers.len()))
	return nil
}

// remoteWrite returns what posts compressed remote-write requests.
func remoteWrite(v *server) load.Send {
	return load.Post(v.http+"/api/v1/write", map[string][]string{
		"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"snappy"}, "X-Prometheus-Remote-Write-Version": {"0.1.0"},
	})
}

// meter loads one server with samples up to end and asks it.
func (s *run) meter(ctx context.Context, v *server, end time.Time) (metered, error) {
	ticks := int((queried+rateOver)/scrape) + 1
	say("append %d samples of %d series to %s", s.series*ticks, s.series, v.title)
	cpu, empty := v.proc.CPU(), proc.Allocated(v.dir)
	var total load.Result
	// Samples of one series must come in order, so each lane has series of
	// its own and sends its requests one after the other.
	results, failures := make(chan load.Result, seriesLanes), make(chan error, seriesLanes)
	send := remoteWrite(v)
	began := time.Now()
	for lane := range seriesLanes {
		go func() {
			series := gen.NewSeries(1, s.series*lane/seriesLanes, s.series*(lane+1)/seriesLanes)
			requests := (series.Len() + perRequest - 1) / perRequest
			var compressed []byte
			r, err := load.Full(ctx, 1, ticks*requests, func(int) load.Make {
				return func(i int) ([]byte, int) {
					at := end.Add(-time.Duration(ticks-1-i/requests) * scrape)
					lo := i % requests * perRequest
					hi := min(lo+perRequest, series.Len())
					compressed = snappy.Encode(compressed[:cap(compressed)], series.Request(at, lo, hi))
					return compressed, hi - lo
				}
			}, send, nil)
			results <- r
			failures <- err
		}()
	}
	for range seriesLanes {
		r := <-results
		total.Acked += r.Acked
		total.Bytes += r.Bytes
		total.Retries += r.Retries
		if err := <-failures; err != nil {
			return metered{}, fmt.Errorf("append: %w\n%s", err, v.proc.Tail())
		}
	}
	total.Wall = time.Since(began)
	v.proc.Settle(ctx, v.dir, quiet, settleWithin)
	m := metered{append: micros(v.proc.CPU()-cpu) / float64(total.Acked)}
	memory, disk := v.proc.Memory(), proc.Allocated(v.dir)-empty

	q := url.Values{
		"query": {seriesMetric},
		"start": {strconv.FormatInt(end.Add(-queried).Unix(), 10)}, "end": {strconv.FormatInt(end.Unix(), 10)},
		"step": {strconv.Itoa(int(queryStep / time.Second))},
	}
	say("ask %s %d times over %v", v.title, seriesAsked, queried)
	var all load.Latencies
	cpu = v.proc.CPU()
	for i := range seriesAsked + 1 {
		answer, took, err := get(ctx, v.http+"/api/v1/query_range?"+q.Encode())
		if err != nil {
			return metered{}, err
		}
		if m.answers, err = readMatrix(answer); err != nil {
			return metered{}, err
		}
		if i > 0 {
			all = append(all, took)
		}
	}
	perQuery := (v.proc.CPU() - cpu) / (seriesAsked + 1)
	m.query = millis(all.Quantile(0.5))
	if want := gen.SeriesJobs * (int(queried/queryStep) + 1); m.answers.len() != want {
		return metered{}, fmt.Errorf("%s answers with %d values, want %d", v.title, m.answers.len(), want)
	}
	answer, _, err := get(ctx, v.http+"/api/v1/query?"+url.Values{"query": {"count(" + gen.SeriesName + ")"}, "time": {strconv.FormatInt(end.Unix(), 10)}}.Encode())
	if err != nil {
		return metered{}, err
	}
	count, err := readScalar(answer)
	if err != nil {
		return metered{}, err
	}
	add := func(metric string, value float64, unit, target, note string) {
		if v.title != "guanlan" {
			target = ""
		}
		s.Report.Add(report.Row{Part: "series", Metric: metric, Subject: v.title, Value: value, Unit: unit, Target: target, Note: note})
	}
	add("append CPU", m.append*1000, "ns/sample", "", fmt.Sprintf("remote write, %d samples of %s series", total.Acked, short(s.series)))
	add("append rate", total.PerSecond(), "samples/s", "", "")
	add(fmt.Sprintf("RSS with %s active series", short(s.series)), memory.RSS, "MiB", "", fmt.Sprintf("peak %.0f", memory.Peak))
	add("disk of samples", float64(disk)/float64(total.Acked), "B/sample", "", "write-ahead log and head; blocks come after hours")
	add("series missing", float64(s.series)-count, "", "<= 0", "")
	add("sum by (job) (rate) over 30 min p50", m.query, "ms", "", fmt.Sprintf("step 30 s, %d times; longest %.0f ms; CPU %.0f ms", seriesAsked, millis(all.Quantile(1)), millis(perQuery)))
	return m, nil
}

// result is the part of an answer of the Prometheus API that is read here.
type result struct {
	Data struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
			Values [][2]any
		}
	}
}

func readMatrix(answer []byte) (answers, error) {
	var r result
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, fmt.Errorf("read matrix: %w", err)
	}
	all := answers{}
	for _, series := range r.Data.Result {
		for _, v := range series.Values {
			text, _ := v[1].(string)
			f, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, fmt.Errorf("read matrix: %w", err)
			}
			all[series.Metric["job"]] = append(all[series.Metric["job"]], f)
		}
	}
	return all, nil
}

func readScalar(answer []byte) (float64, error) {
	var r result
	if err := json.Unmarshal(answer, &r); err != nil {
		return 0, fmt.Errorf("read vector: %w", err)
	}
	if len(r.Data.Result) != 1 {
		return 0, nil
	}
	text, _ := r.Data.Result[0].Value[1].(string)
	return strconv.ParseFloat(text, 64)
}

func (a answers) len() int {
	n := 0
	for _, v := range a {
		n += len(v)
	}
	return n
}

// differ counts values that are not the same but for the order in which
// floating-point numbers were added up.
func (a answers) differ(b answers) int {
	n := 0
	for job, values := range a {
		others := b[job]
		for i, v := range values {
			if i >= len(others) || math.Abs(v-others[i]) > 1e-9*math.Abs(v) {
				n++
			}
		}
	}
	return n
}
