package query

import "testing"

// TestFlowsWithout: a service that is not known and a time that was not
// measured are absent, as fields of records are.
func TestFlowsWithout(t *testing.T) {
	of := func(service string, rtt float64) *flow {
		f := &flow{}
		f.Source, f.Target = Endpoint{Service: service}, Endpoint{Address: "10.0.0.1", Port: "443"}
		f.RTTP50, f.RTTP99, f.ConnectP99, f.Ratio = -1, rtt, -1, -1
		return f
	}
	known, unknown := of("order", 3e6), of("", -1)
	for filter, want := range map[string][2]bool{ // of known, of unknown
		`service.name = order`:    {true, false},
		`service.name = ""`:       {false, true},
		`service.name != ""`:      {true, false},
		`service.name != stock`:   {true, true},
		`exists service.name`:     {true, false},
		`service.name !~ "^o"`:    {false, true},
		`exists rtt_p99`:          {true, false},
		`rtt_p99 < 5ms`:           {true, false},
		`rtt_p99 >= 0s`:           {true, false},
		`exists rtt_p50`:          {false, false},
		`retransmit_ratio < 0.01`: {true, true},
	} {
		where, err := ParseFilter(filter, Network)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		if got := [2]bool{known.meets(where), unknown.meets(where)}; got != want {
			t.Errorf("%s: got %v, want %v", filter, got, want)
		}
	}
}
