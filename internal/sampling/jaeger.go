package sampling

import (
	"maps"
	"slices"
)

// Strategy is an answer of Jaeger's remote sampling protocol in its JSON form.
// Source: jaeger-idl, proto/api_v2/sampling.proto.
type Strategy struct {
	Type          string         `json:"strategyType"`
	Probabilistic *Probabilistic `json:"probabilisticSampling,omitempty"`
	Operations    *Operations    `json:"operationSampling,omitempty"`
	// Guanlan is the whole policy, for those who ask for it: OpenTelemetry's
	// client for Go takes no answer with a member that it does not know.
	Guanlan *Policy `json:"guanlan,omitempty"`
}

// Probabilistic keeps a share of traces.
type Probabilistic struct {
	Rate float64 `json:"samplingRate"`
}

// Operations keep a share of each operation.
type Operations struct {
	Default float64 `json:"defaultSamplingProbability"`
	// AtLeast is traces a second of every single operation; a policy's few
	// are those of a service, so it is 0.
	AtLeast float64     `json:"defaultLowerBoundTracesPerSecond"`
	Each    []Operation `json:"perOperationStrategies"`
}

// Operation is one with its own share.
type Operation struct {
	Name          string        `json:"operation"`
	Probabilistic Probabilistic `json:"probabilisticSampling"`
}

const probabilistic = "PROBABILISTIC"

// Strategy is what of a policy a Jaeger client can carry out: shares that stay
// as they are. What follows traffic, errors, latency or attributes it cannot.
func (p *Policy) Strategy() Strategy {
	f := p.Filled()
	base := min(max(*f.Base, *f.Least), *f.Most)
	s := Strategy{Type: probabilistic, Probabilistic: &Probabilistic{base}}
	if len(p.Critical)+len(p.Operations) == 0 {
		return s
	}
	rates := maps.Clone(p.Operations)
	if rates == nil {
		rates = map[string]float64{}
	}
	for _, name := range p.Critical {
		rates[name] = min(max(base, *f.CriticalFloor), *f.Most)
	}
	s.Operations = &Operations{Default: base}
	for _, name := range slices.Sorted(maps.Keys(rates)) {
		s.Operations.Each = append(s.Operations.Each, Operation{name, Probabilistic{rates[name]}})
	}
	return s
}
