package sampling

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	good := func(text string) {
		t.Helper()
		if _, err := Decode([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	good(`{}`)
	good(`{"base":0.0001}`)
	good(`{"base":1,"few":0,"operations":{"GET /healthz":0},"weights":{"tier":{"none":0}}}`)
	good(`{"least":0.5,"most":0.5}`)
	bad := func(text string, want ...string) {
		t.Helper()
		_, err := Decode([]byte(text))
		var invalid Invalid
		if !errors.As(err, &invalid) {
			t.Errorf("%.60s: got %v, want Invalid", text, err)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%.60s: got %q, want %q in it", text, err, w)
			}
		}
	}
	bad(``, "not a policy")
	bad(`[]`, "not a policy")
	bad(`{"base":0.5} {}`, "something follows")
	bad(`{"bse":0.5}`, "bse: no such field; there are base, few, ")
	bad(`{"base":"much"}`, "base: is a string: want a number from 0.0001 to 1")
	bad(`{"weights":{"a":{"b":"c"}}}`, "weights: is a string: want an object of objects of numbers")
	bad(`{"critical":"x"}`, "critical: is a string: want a list of names")
	bad(`{"base":2,"smoothing":0}`, "base: want a number from 0.0001 to 1", "smoothing: want a number from 0.01 to 1")
	bad(`{"base":1e999}`, "base")
	bad(`{"least":0.5,"most":0.4}`, "least: want at most 0.4")
	bad(`{"errors":0.2}`, "errors: want at most 0.05, which is allErrors")
	bad(`{"critical":["a",""]}`, "critical[1]: is empty")
	bad(`{"critical":["a\u001b"]}`, "critical[0]: has control characters")
	bad(`{"critical":["a"],"operations":{"a":0.5}}`, "in one of both")
	bad(`{"operations":{"a":1.5}}`, `operations["a"]: want a number from 0 to 1`)
	bad(`{"operations":{"`+strings.Repeat("a", 257)+`":1}}`, "has 257 bytes: want 256 at most")
	bad(`{"weights":{"a":{"b":-1}}}`, `weights["a"]["b"]: want a number from 0 to 10000`)
	bad(`{"critical":["x"`+strings.Repeat(`,"x"`, MaxNames)+`]}`, "want 256 names at most")
	bad(strings.Repeat(" ", MaxBody+1), "more than 65536")
	many := map[string]map[string]float64{}
	for i := range MaxKeys + 1 {
		many[strconv.Itoa(i)] = map[string]float64{"x": 1}
	}
	if err := (&Policy{Weights: many}).Validate(); err == nil || !strings.Contains(err.Error(), "want 16 keys at most") {
		t.Errorf("many keys: %v", err)
	}
}

// The document of the API, which is made of the tags, says what is checked.
func TestTagsSayWhatIsChecked(t *testing.T) {
	var p Policy
	typ := reflect.TypeFor[Policy]()
	numbers := 0
	for i := range typ.NumField() {
		if typ.Field(i).Type == reflect.TypeFor[*float64]() {
			numbers++
		}
	}
	if numbers != len(Knobs) {
		t.Errorf("%d numbers, %d knobs", numbers, len(Knobs))
	}
	for _, k := range Knobs {
		*k.In(&p) = new(k.Default)
		found := false
		for i := range typ.NumField() {
			f := typ.Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != k.Name {
				continue
			}
			found = reflect.ValueOf(p).Field(i).Interface() == any(*k.In(&p))
			if f.Tag.Get("minimum") != number(k.Least) || f.Tag.Get("maximum") != number(k.Most) || !strings.HasSuffix(f.Tag.Get("doc"), "; default "+number(k.Default)+".") {
				t.Errorf("%s: tags %q, want %v to %v, default %v", k.Name, f.Tag, k.Least, k.Most, k.Default)
			}
		}
		if !found {
			t.Errorf("knob %s is not the field of that name", k.Name)
		}
	}
	if err := p.Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"base":0.5,"critical":["POST /pay"],"operations":{"GET /healthz":0.001},"weights":{"tenant.tier":{"gold":20}},"few":0}`))
	f.Add([]byte(`{"least":1,"most":0.0001}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Decode(text)
		if err != nil {
			if len(err.Error()) > 1<<20 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		q, err := Decode(again)
		if err != nil && len(again) <= MaxBody {
			t.Fatalf("%s is valid, and %s is not: %v", text, again, err)
		}
		s := p.Strategy()
		if err == nil && !reflect.DeepEqual(s, q.Strategy()) {
			t.Errorf("%s and %s differ", text, again)
		}
		if r := s.Probabilistic.Rate; !(r >= leastShare && r <= mostShare) {
			t.Errorf("%s: rate %v", text, r)
		}
	})
}

func TestMatch(t *testing.T) {
	rule := func(service, environment string) Rule { return Rule{Service: service, Environment: environment} }
	s, err := NewSet([]Rule{rule("order", "prod"), rule("order", ""), rule(Default, "prod"), rule("pay", "dev")})
	if err != nil {
		t.Fatal(err)
	}
	f := func(service, environment, want string) {
		t.Helper()
		r, found := s.Match(service, environment)
		got := "none"
		if found {
			got = r.Service + "/" + r.Environment
		}
		if got != want {
			t.Errorf("%s in %q: got %s, want %s", service, environment, got, want)
		}
	}
	f("order", "prod", "order/prod")
	f("order", "dev", "order/")
	f("order", "", "order/")
	f("pay", "prod", "default/prod")
	f("pay", "dev", "pay/dev")
	f("pay", "", "none")
	f("other", "dev", "none")
	s2 := s.With(rule(Default, ""))
	if r, found := s2.Match("other", "dev"); !found || r.Service != Default || len(s) != 4 {
		t.Errorf("with a default: %v, %v; the set before has %d", r, found, len(s))
	}
	if s3, found := s2.Without(Default, ""); !found || !reflect.DeepEqual(s3, s) {
		t.Errorf("without it: %v", s3)
	}
	if _, found := s.Without("order", "test"); found {
		t.Error("found what is not there")
	}
	changed := s.With(Rule{Service: "order", Policy: Policy{Base: new(0.5)}})
	if r, _ := changed.Get("order", ""); r.Policy.Base == nil || len(changed) != 4 {
		t.Errorf("replaced: %+v", changed)
	}
	if r, _ := s.Get("order", ""); r.Policy.Base != nil {
		t.Error("the set before is changed")
	}
	for _, wrong := range [][]Rule{{rule("a", ""), rule("a", "")}, {rule("", "")}, {rule("a", "\x00")}, {{Service: "a", Policy: Policy{Base: new(7.0)}}}} {
		if _, err := NewSet(wrong); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
}

func TestStrategy(t *testing.T) {
	f := func(policy, want string) {
		t.Helper()
		p, err := Decode([]byte(policy))
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(p.Strategy())
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, error %v\nwant %s", policy, got, err, want)
		}
	}
	f(`{}`, `{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.01}}`)
	f(`{"base":0.5,"most":0.2}`, `{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.2}}`)
	f(`{"base":0.01,"least":0.1}`, `{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.1}}`)
	f(`{"base":0.5,"critical":["a"]}`, `{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5},"operationSampling":{"defaultSamplingProbability":0.5,"defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":[{"operation":"a","probabilisticSampling":{"samplingRate":0.5}}]}}`)
	f(`{"critical":["b"],"operations":{"c":0,"a":0.3}}`, `{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.01},"operationSampling":{"defaultSamplingProbability":0.01,"defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":[`+
		`{"operation":"a","probabilisticSampling":{"samplingRate":0.3}},{"operation":"b","probabilisticSampling":{"samplingRate":0.2}},{"operation":"c","probabilisticSampling":{"samplingRate":0}}]}}`)
}
