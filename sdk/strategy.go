package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// strategyJSON is an answer of Jaeger's remote sampling protocol, with the
// member that Guanlan adds. Only what of it holds counts.
type strategyJSON struct {
	Guanlan       *policyJSON `json:"guanlan"`
	Probabilistic *rateJSON   `json:"probabilisticSampling"`
	RateLimiting  *struct {
		PerSecond *float64 `json:"maxTracesPerSecond"`
	} `json:"rateLimitingSampling"`
	Operations *struct {
		Default    *float64 `json:"defaultSamplingProbability"`
		AtLeast    float64  `json:"defaultLowerBoundTracesPerSecond"`
		Strategies []struct {
			Operation     string    `json:"operation"`
			Probabilistic *rateJSON `json:"probabilisticSampling"`
		} `json:"perOperationStrategies"`
	} `json:"operationSampling"`
}

type rateJSON struct {
	Rate float64 `json:"samplingRate"`
}

// policyJSON is a core.Policy as Guanlan sends it; docs/guides/apis.md says
// what it means. What is absent has its default.
type policyJSON struct {
	Base          *float64                      `json:"base"`
	Few           *float64                      `json:"few"`
	Least         *float64                      `json:"least"`
	Most          *float64                      `json:"most"`
	Busy          *float64                      `json:"busy"`
	BusyFloor     *float64                      `json:"busyFloor"`
	Errors        *float64                      `json:"errors"`
	ErrorBoost    *float64                      `json:"errorBoost"`
	AllErrors     *float64                      `json:"allErrors"`
	AllP99Ms      *float64                      `json:"allP99Ms"`
	Critical      []string                      `json:"critical"`
	CriticalFloor *float64                      `json:"criticalFloor"`
	Operations    map[string]float64            `json:"operations"`
	Weights       map[string]map[string]float64 `json:"weights"`
	WindowMs      *float64                      `json:"windowMs"`
	Smoothing     *float64                      `json:"smoothing"`
}

// maxStrategyNames is how many operations, or weights, are taken from outside: each
// costs memory in every service.
const maxStrategyNames = 4096

// parseStrategy reads an answer. It does not trust it: the error says what
// cannot be.
func parseStrategy(body []byte) (core.Policy, error) {
	var s strategyJSON
	if err := json.Unmarshal(body, &s); err != nil {
		return core.Policy{}, fmt.Errorf("decode sampling strategy: %w", err)
	}
	switch {
	case s.Guanlan != nil:
		return s.Guanlan.policy()
	case s.Operations != nil:
		return s.operations()
	case s.Probabilistic != nil:
		if err := checkShare("samplingRate", s.Probabilistic.Rate); err != nil {
			return core.Policy{}, err
		}
		return core.Fixed(s.Probabilistic.Rate), nil
	case s.RateLimiting != nil:
		n := s.RateLimiting.PerSecond
		if n == nil || *n < 0 {
			return core.Policy{}, errors.New("maxTracesPerSecond: want a number from 0 on")
		}
		return core.PerSecond(*n), nil
	}
	return core.Policy{}, errors.New("sampling strategy of an unknown kind")
}

// operations makes a policy of shares by operation.
func (s *strategyJSON) operations() (core.Policy, error) {
	base := s.Operations.Default
	if base == nil {
		base = new(float64)
		if s.Probabilistic != nil {
			base = &s.Probabilistic.Rate
		}
	}
	if err := checkShare("defaultSamplingProbability", *base); err != nil {
		return core.Policy{}, err
	}
	if s.Operations.AtLeast < 0 {
		return core.Policy{}, errors.New("defaultLowerBoundTracesPerSecond: want a number from 0 on")
	}
	p := core.Fixed(*base)
	if s.Operations.AtLeast > 0 {
		p.Few, p.Most, p.Errors = s.Operations.AtLeast, 1, 2 // a share of errors that is never reached
	}
	p.Operations = make(map[string]float64, len(s.Operations.Strategies))
	for _, o := range s.Operations.Strategies {
		if o.Probabilistic == nil {
			return core.Policy{}, fmt.Errorf("operation %.64q: want probabilisticSampling", o.Operation)
		}
		if err := checkShare("samplingRate", o.Probabilistic.Rate); err != nil {
			return core.Policy{}, err
		}
		p.Operations[o.Operation] = o.Probabilistic.Rate
	}
	return p, checkNames(len(p.Operations))
}

// policy checks what Guanlan has checked already: who answers may be another.
// It is not as strict: a later server may allow more.
func (j *policyJSON) policy() (p core.Policy, err error) {
	check := func(bad error) { // the first is told: there may be thousands
		if err == nil {
			err = bad
		}
	}
	num := func(name string, to *float64, v *float64) {
		switch {
		case v == nil:
		case *v < 0:
			check(fmt.Errorf("%s is %v: want a number from 0 on", name, *v))
		default:
			*to = *v
		}
	}
	part := func(name string, to *float64, v *float64) {
		if v != nil {
			check(checkShare(name, *v))
		}
		num(name, to, v)
	}
	part("base", &p.Base, j.Base)
	if num("few", &p.Few, j.Few); j.Few != nil && *j.Few == 0 {
		p.Few = -1
	}
	part("least", &p.Least, j.Least)
	part("most", &p.Most, j.Most)
	num("busy", &p.Busy, j.Busy)
	part("busyFloor", &p.BusyFloor, j.BusyFloor)
	part("errors", &p.Errors, j.Errors)
	num("errorBoost", &p.ErrorBoost, j.ErrorBoost)
	part("allErrors", &p.AllErrors, j.AllErrors)
	part("criticalFloor", &p.CriticalFloor, j.CriticalFloor)
	part("smoothing", &p.Smoothing, j.Smoothing)
	var p99, window float64
	num("allP99Ms", &p99, j.AllP99Ms)
	num("windowMs", &window, j.WindowMs)
	p.AllP99, p.Window = fromMilliseconds(p99), fromMilliseconds(window)
	for name, v := range j.Operations {
		check(checkShare(fmt.Sprintf("operations[%.64q]", name), v))
	}
	weights := 0
	for key, values := range j.Weights {
		weights += len(values)
		for value, v := range values {
			if v < 0 {
				check(fmt.Errorf("weights[%.64q][%.64q] is %v: want a number from 0 on", key, value, v))
			}
		}
	}
	p.Critical, p.Operations, p.Weights = j.Critical, j.Operations, j.Weights
	check(checkNames(len(p.Critical) + len(p.Operations)))
	check(checkNames(weights))
	if err != nil {
		return core.Policy{}, err
	}
	return p, nil
}

func checkShare(name string, v float64) error {
	if v >= 0 && v <= 1 {
		return nil
	}
	return fmt.Errorf("%s is %v: want a share from 0 to 1", name, v)
}

func checkNames(n int) error {
	if n > maxStrategyNames {
		return fmt.Errorf("%d names: want %d at most", n, maxStrategyNames)
	}
	return nil
}

// fromMilliseconds is the time of so many, at most an hour.
func fromMilliseconds(v float64) time.Duration {
	return time.Duration(min(v, 3_600_000) * float64(time.Millisecond))
}
