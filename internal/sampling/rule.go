package sampling

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Default is the name of all services that have no policy of their own.
const Default = "default"

// Rule is a policy and where it holds.
type Rule struct {
	Service     string    `json:"service" doc:"service.name, or default for all services without a policy of their own."`
	Environment string    `json:"environment" doc:"deployment.environment.name; empty for every one."`
	Policy      Policy    `json:"policy"`
	Updated     time.Time `json:"updated" doc:"When it was set."`
}

// Validate names what cannot be as it is; the error is Invalid.
func (r *Rule) Validate() error {
	if msg := badName(r.Service); msg != "" {
		return Invalid{{"service", "", msg}}
	}
	if r.Environment != "" {
		if msg := badName(r.Environment); msg != "" {
			return Invalid{{"environment", "", msg}}
		}
	}
	return r.Policy.Validate()
}

func (r *Rule) compare(o *Rule) int {
	return cmp.Or(cmp.Compare(r.Service, o.Service), cmp.Compare(r.Environment, o.Environment))
}

// Set is rules by service and environment, in this order, one for each. It is
// not changed; With and Without make another one.
type Set []Rule

func (s Set) find(service, environment string) (at int, found bool) {
	return slices.BinarySearchFunc(s, Rule{Service: service, Environment: environment}, func(a, b Rule) int { return a.compare(&b) })
}

// Get is the rule for exactly this service and environment.
func (s Set) Get(service, environment string) (Rule, bool) {
	if at, ok := s.find(service, environment); ok {
		return s[at], true
	}
	return Rule{}, false
}

// Match is the rule that holds in a service: its own before the default one,
// and among these the one for the environment before the one for all. Without
// any it is false, and the zero policy holds.
func (s Set) Match(service, environment string) (Rule, bool) {
	for _, name := range []string{service, Default} {
		for _, env := range []string{environment, ""} {
			if r, ok := s.Get(name, env); ok {
				return r, true
			}
		}
	}
	return Rule{}, false
}

// With is s with r added or in place of the one before.
func (s Set) With(r Rule) Set {
	at, found := s.find(r.Service, r.Environment)
	s = slices.Clone(s)
	if found {
		s[at] = r
		return s
	}
	return slices.Insert(s, at, r)
}

// Without is s without the rule for exactly this service and environment;
// false when there is none.
func (s Set) Without(service, environment string) (Set, bool) {
	at, found := s.find(service, environment)
	if !found {
		return s, false
	}
	return slices.Delete(slices.Clone(s), at, at+1), true
}

// NewSet makes a set of rules that somebody else wrote, and validates them.
func NewSet(rules []Rule) (Set, error) {
	s := Set(slices.Clone(rules))
	slices.SortFunc(s, func(a, b Rule) int { return a.compare(&b) })
	for i := range s {
		if err := s[i].Validate(); err != nil {
			return nil, fmt.Errorf("policy of %q in %q: %w", s[i].Service, s[i].Environment, err)
		}
		if i > 0 && s[i].compare(&s[i-1]) == 0 {
			return nil, fmt.Errorf("two policies of %q in %q", s[i].Service, s[i].Environment)
		}
	}
	return s, nil
}
