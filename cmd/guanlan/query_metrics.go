package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newQueryMetrics(a *asking) *cobra.Command {
	var step time.Duration
	cmd := &cobra.Command{
		Use:   "metrics PROMQL",
		Short: "Evaluate PromQL now, or over a range with --step",
		Example: `  guanlan query metrics 'sum by (service_name) (rate(traces_span_metrics_calls_total[5m]))'
  guanlan query metrics up --step 30s --since 15m --output json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			params := url.Values{"query": {strings.Join(args, " ")}}
			path := "/api/v1/query"
			if step > 0 {
				path = "/api/v1/query_range"
				end := time.Now()
				if t, err := time.Parse(time.RFC3339, a.end); err == nil {
					end = t
				}
				params.Set("end", end.Format(time.RFC3339Nano))
				params.Set("start", end.Add(-a.since).Format(time.RFC3339Nano))
				params.Set("step", strconv.FormatFloat(step.Seconds(), 'f', -1, 64))
			}
			var answer json.RawMessage
			if err := a.get(cmd.Context(), path, params, &answer); err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			return printSamples(cmd, answer)
		},
	}
	outputFlag(cmd, &a.output)
	cmd.Flags().DurationVar(&step, "step", 0, "evaluate at each step over the range instead of once")
	return cmd
}

// sample is a [time, "value"] pair of the Prometheus API.
type sample [2]any

func (s sample) time() string {
	seconds, _ := s[0].(float64)
	return clock(time.UnixMilli(int64(seconds * 1000)))
}

func printSamples(cmd *cobra.Command, answer []byte) error {
	var a struct {
		Data struct {
			ResultType string          `json:"resultType"`
			Result     json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("decode the metrics: %w", err)
	}
	w := table(cmd.OutOrStdout(), "SERIES", "TIME", "VALUE")
	if a.Data.ResultType == "scalar" || a.Data.ResultType == "string" {
		var s sample
		if err := json.Unmarshal(a.Data.Result, &s); err != nil {
			return fmt.Errorf("decode the %s: %w", a.Data.ResultType, err)
		}
		row(w, a.Data.ResultType, s.time(), s[1])
		return w.Flush()
	}
	var series []struct {
		Metric     map[string]string `json:"metric"`
		Value      *sample           `json:"value"`
		Values     []sample          `json:"values"`
		Histogram  *[2]any           `json:"histogram"`
		Histograms [][2]any          `json:"histograms"`
	}
	if err := json.Unmarshal(a.Data.Result, &series); err != nil {
		return fmt.Errorf("decode the %s: %w", a.Data.ResultType, err)
	}
	for _, s := range series {
		name := seriesName(s.Metric)
		if s.Value != nil {
			row(w, name, s.Value.time(), s.Value[1])
		}
		for _, v := range s.Values {
			row(w, name, v.time(), v[1])
		}
		if s.Histogram != nil {
			s.Histograms = append(s.Histograms, *s.Histogram)
		}
		for _, h := range s.Histograms {
			figures, _ := h[1].(map[string]any)
			row(w, name, sample(h).time(), fmt.Sprintf("histogram count=%v sum=%v", figures["count"], figures["sum"]))
		}
	}
	return w.Flush()
}

// seriesName writes labels as PromQL does.
func seriesName(labels map[string]string) string {
	var pairs []string
	for k, v := range labels {
		if k != "__name__" {
			pairs = append(pairs, k+"="+strconv.Quote(v))
		}
	}
	sort.Strings(pairs)
	return labels["__name__"] + "{" + strings.Join(pairs, ", ") + "}"
}
