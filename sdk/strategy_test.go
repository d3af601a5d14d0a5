package sdk

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// The root module serves this very file; house_test.go compares the copies.
func TestParseStrategyOfGuanlan(t *testing.T) {
	text, err := os.ReadFile("testdata/sampling.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseStrategy(text)
	if err != nil {
		t.Fatal(err)
	}
	want := core.Policy{
		Base: 0.05, Few: 10, Least: 0.001, Most: 0.9, Busy: 2000, BusyFloor: 0.2, Errors: 0.01, ErrorBoost: 5, AllErrors: 0.1,
		AllP99: 500 * time.Millisecond, Critical: []string{"POST /pay", "GET /orders/{id}"}, CriticalFloor: 0.25,
		Operations: map[string]float64{"GET /healthz": 0.001}, Weights: map[string]map[string]float64{"tenant.tier": {"free": 0.5, "gold": 20}},
		Window: 2 * time.Second, Smoothing: 0.5,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for v, i := reflect.ValueOf(want), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("the example leaves %s out", v.Type().Field(i).Name)
		}
	}
}

func TestParseStrategy(t *testing.T) {
	f := func(text string, want core.Policy) {
		t.Helper()
		got, err := parseStrategy([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, error %v\nwant %+v", text, got, err, want)
		}
	}
	// As Jaeger writes them; older ones have numbers for the type.
	f(`{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5}}`, core.Fixed(0.5))
	f(`{"strategyType":0,"probabilisticSampling":{"samplingRate":0}}`, core.Fixed(0))
	f(`{"probabilisticSampling":{}}`, core.Fixed(0))
	f(`{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":7}}`, core.PerSecond(7))
	f(`{"guanlan":{}}`, core.Policy{})
	f(`{"guanlan":{"few":0,"of a later version":1}}`, core.Policy{Few: -1})
	own := core.Fixed(0.2)
	own.Operations = map[string]float64{"a": 0.5, "b": 0}
	f(`{"operationSampling":{"defaultSamplingProbability":0.2,"perOperationStrategies":[{"operation":"a","probabilisticSampling":{"samplingRate":0.5}},{"operation":"b","probabilisticSampling":{}}]}}`, own)
	own = core.Fixed(0.2)
	own.Operations, own.Few, own.Most, own.Errors = map[string]float64{}, 2, 1, 2
	f(`{"probabilisticSampling":{"samplingRate":0.2},"operationSampling":{"defaultLowerBoundTracesPerSecond":2}}`, own)

	bad := func(text, want string) {
		t.Helper()
		if p, err := parseStrategy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, error %v, want one with %q", text, p, err, want)
		}
	}
	bad(``, "decode sampling strategy")
	bad(`<html>`, "decode sampling strategy")
	bad(`{}`, "unknown kind")
	bad(`null`, "unknown kind")
	bad(`{"probabilisticSampling":{"samplingRate":1.5}}`, "samplingRate is 1.5: want a share from 0 to 1")
	bad(`{"probabilisticSampling":{"samplingRate":-1}}`, "samplingRate")
	bad(`{"rateLimitingSampling":{}}`, "maxTracesPerSecond")
	bad(`{"rateLimitingSampling":{"maxTracesPerSecond":-1}}`, "maxTracesPerSecond")
	bad(`{"operationSampling":{"perOperationStrategies":[{"operation":"a"}]}}`, `operation "a"`)
	bad(`{"operationSampling":{"defaultSamplingProbability":2}}`, "defaultSamplingProbability")
	bad(`{"operationSampling":{"defaultLowerBoundTracesPerSecond":-2}}`, "defaultLowerBound")
	bad(`{"guanlan":{"base":2}}`, "base is 2")
	bad(`{"guanlan":{"base":"much"}}`, "decode")
	bad(`{"guanlan":{"busy":-1}}`, "busy is -1")
	bad(`{"guanlan":{"operations":{"x":3}}}`, `operations["x"]`)
	bad(`{"guanlan":{"weights":{"x":{"y":-3}}}}`, `weights["x"]["y"]`)
	bad(`{"guanlan":{"critical":["`+strings.Repeat(`x","`, maxStrategyNames+1)+`"]}}`, "4096 at most")
}

// Whatever is answered, it is a policy that a sampler can go by, or an error.
func FuzzParseStrategy(f *testing.F) {
	if text, err := os.ReadFile("testdata/sampling.json"); err == nil {
		f.Add(text)
	}
	f.Add([]byte(`{"strategyType":1,"rateLimitingSampling":{"maxTracesPerSecond":7}}`))
	f.Add([]byte(`{"guanlan":{"base":1e-300,"least":1e-300,"most":1e-300,"few":1e300,"windowMs":1e300,"allP99Ms":1e-9,"weights":{"":{"":1e308}},"operations":{"GET /{":1,"GET /{...}/{$}":0}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseStrategy(text)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		a := core.NewAdaptive(p, time.Unix(0, 0))
		if w := a.Window(); w < 100*time.Millisecond || w > time.Hour {
			t.Errorf("window %v", w)
		}
		for i := range 30 {
			a.Observe(time.Second, i%2 == 0)
		}
		a.Turn(time.Unix(1, 0), 0)
		if s := a.Share(); !(s >= 0 && s <= 1) {
			t.Errorf("share %v of %+v", s, p)
		}
		sc := core.SpanContext{TraceID: core.NewTraceID()}
		a.Decide(&sc, a.Operation("GET", "/a/b"), core.KindServer, []core.Attr{core.String("a", "b")})
	})
}
