package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/sampling"
)

// edit is what the flags of one call change of a policy: first what they unset,
// then the changes in their order.
type edit struct {
	changes []func(*sampling.Policy)
	unset   []string
	remove  bool
}

func newSamplingSet(p *policies) *cobra.Command {
	e := &edit{}
	cmd := &cobra.Command{
		Use:   "set SERVICE|default",
		Short: "Change, or make, the policy of a service",
		Long: `Change the policy of a service, or of all services without one of their own by the
name "default". Fields that no flag names stay as they are; those never set have their
defaults. The policy of a service is not merged with the default one.

Shares are from 0.0001 to 1. Operations are names of spans; for HTTP METHOD /path, with
{name} for one segment of any value.`,
		Example: `  guanlan sampling set default --base 0.05
  guanlan sampling set order --base 0.02 --critical-operation 'POST /orders' --all-p99 500ms
  guanlan sampling set order --environment staging --base 1
  guanlan sampling set order --operation 'GET /healthz=0.0001' --weight tenant.tier=gold:20
  guanlan sampling set order --unset base --unset 'critical-operation=POST /orders'
  guanlan sampling set order --delete`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch changes := len(e.changes) + len(e.unset); {
			case changes == 0 && !e.remove:
				return usageError{errors.New("nothing to set; see guanlan sampling set --help")}
			case changes > 0 && e.remove:
				return usageError{errors.New("--delete takes the whole policy away: leave the other flags out")}
			case e.remove:
				return p.remove(cmd, args[0])
			}
			return p.set(cmd, args[0], e)
		},
	}
	outputFlag(cmd, &p.output)
	e.flags(cmd)
	return cmd
}

func (e *edit) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	for _, k := range knobFlags() {
		f.Var(&knobValue{k, e}, k.flag, k.usage())
	}
	each := func(name, form, usage string, parse func(string) (func(*sampling.Policy), error)) {
		f.Var(&listValue{form, func(text string) error {
			change, err := parse(text)
			if err == nil {
				e.changes = append(e.changes, change)
			}
			return err
		}}, name, usage)
	}
	each("critical-operation", "NAME", "keep at least critical-floor of this operation; may be repeated", func(name string) (func(*sampling.Policy), error) {
		return func(p *sampling.Policy) {
			if !slices.Contains(p.Critical, name) {
				p.Critical = append(p.Critical, name)
			}
		}, nil
	})
	each("operation", "NAME=SHARE", "keep this share of an operation, from 0 to 1, whatever the traffic is; may be repeated", func(text string) (func(*sampling.Policy), error) {
		at := strings.LastIndexByte(text, '=')
		share, err := strconv.ParseFloat(text[at+1:], 64)
		if at <= 0 || err != nil {
			return nil, errors.New("want NAME=SHARE, as 'GET /healthz=0.0001'")
		}
		return func(p *sampling.Policy) {
			if p.Operations == nil {
				p.Operations = map[string]float64{}
			}
			p.Operations[text[:at]] = share
		}, nil
	})
	each("weight", "KEY=VALUE:WEIGHT", "multiply the share where an attribute of the first span, or a member of the baggage, has this value; may be repeated", func(text string) (func(*sampling.Policy), error) {
		at := strings.LastIndexByte(text, ':')
		weight, err := strconv.ParseFloat(text[at+1:], 64)
		key, value, ok := strings.Cut(text[:max(at, 0)], "=")
		if !ok || err != nil {
			return nil, errors.New("want KEY=VALUE:WEIGHT, as tenant.tier=gold:20")
		}
		return func(p *sampling.Policy) {
			if p.Weights == nil {
				p.Weights = map[string]map[string]float64{}
			}
			if p.Weights[key] == nil {
				p.Weights[key] = map[string]float64{}
			}
			p.Weights[key][value] = weight
		}, nil
	})
	f.Var(&listValue{"FIELD", func(text string) error {
		e.unset = append(e.unset, text)
		return nil
	}}, "unset", "take a field back to its default: the name of its flag, or NAME=ITEM for one item of a list; may be repeated")
	f.BoolVar(&e.remove, "delete", false, "delete the policy; the less specific one holds then")
	if err := cmd.RegisterFlagCompletionFunc("unset", cobra.FixedCompletions(fieldFlags(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("BUG: complete --unset: " + err.Error())
	}
}

// listFlags are the fields that are no numbers.
var listFlags = []string{"critical-operation", "operation", "weight"}

func fieldFlags() (names []string) {
	for _, k := range knobFlags() {
		names = append(names, k.flag)
	}
	return append(names, listFlags...)
}

// apply changes a policy.
func (e *edit) apply(p *sampling.Policy) error {
	for _, text := range e.unset {
		name, item, one := strings.Cut(text, "=")
		switch at := slices.IndexFunc(knobFlags(), func(k knobFlag) bool { return k.flag == name }); {
		case at >= 0 && !one:
			*knobFlags()[at].In(p) = nil
		case name == "critical-operation" && one:
			p.Critical = slices.DeleteFunc(p.Critical, func(c string) bool { return c == item })
		case name == "critical-operation":
			p.Critical = nil
		case name == "operation" && one:
			delete(p.Operations, item)
		case name == "operation":
			p.Operations = nil
		case name == "weight" && one:
			key, value, ok := strings.Cut(item, "=")
			if delete(p.Weights[key], value); !ok || len(p.Weights[key]) == 0 {
				delete(p.Weights, key)
			}
		case name == "weight":
			p.Weights = nil
		default:
			return usageError{fmt.Errorf("--unset %q: want one of %s", text, strings.Join(fieldFlags(), ", "))}
		}
	}
	for _, change := range e.changes {
		change(p)
	}
	return nil
}

func (p *policies) set(cmd *cobra.Command, service string, e *edit) error {
	path, params := p.at(service)
	var rule sampling.Rule
	if err := p.get(cmd.Context(), path, params, &rule); err != nil && !errors.As(err, new(notFoundError)) {
		return err
	}
	if err := e.apply(&rule.Policy); err != nil {
		return err
	}
	body, err := json.Marshal(rule.Policy)
	if err != nil {
		return fmt.Errorf("encode the policy: %w", err)
	}
	answer, err := p.call(cmd.Context(), http.MethodPut, path, params, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(&rule); err != nil {
		return fmt.Errorf("decode the answer of %s%s: %w", p.server, path, err)
	}
	if p.output == "json" {
		return printJSON(cmd.OutOrStdout(), rule)
	}
	return printRule(cmd, rule, true)
}

func (p *policies) remove(cmd *cobra.Command, service string) error {
	path, params := p.at(service)
	answer, err := p.call(cmd.Context(), http.MethodDelete, path, params, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer)
	return errors.Join(err, answer.Close())
}

// at is where the policy of a service is.
func (p *policies) at(service string) (path string, params url.Values) {
	if p.environment != "" {
		params = url.Values{"environment": {p.environment}}
	}
	return policiesPath + "/" + url.PathEscape(service), params
}

// knobFlag is a number of a policy as a flag.
type knobFlag struct {
	sampling.Knob
	flag     string // busy-floor for busyFloor
	duration bool   // milliseconds in the policy, a duration on the command line
	doc      string
}

// knobFlags makes flags of all numbers, described as in the API.
func knobFlags() []knobFlag {
	docs := map[string]string{}
	for t, i := reflect.TypeFor[sampling.Policy](), 0; i < t.NumField(); i++ {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		docs[name] = t.Field(i).Tag.Get("doc")
	}
	var all []knobFlag
	for _, k := range sampling.Knobs {
		name, duration := strings.CutSuffix(k.Name, "Ms")
		var flag strings.Builder
		for i, r := range name {
			// P99 is one word with what is before it: all-p99.
			if unicode.IsUpper(r) && i > 0 {
				flag.WriteByte('-')
			}
			flag.WriteRune(unicode.ToLower(r))
		}
		all = append(all, knobFlag{k, flag.String(), duration, docs[k.Name]})
	}
	return all
}

func (k *knobFlag) usage() string {
	doc, _, _ := strings.Cut(strings.TrimPrefix(k.doc, "Milliseconds: "), "; default ")
	return fmt.Sprintf("%s%s; %s to %s (default %s)", strings.ToLower(doc[:1]), doc[1:], k.show(k.Least), k.show(k.Most), k.show(k.Default))
}

func (k *knobFlag) show(v float64) string {
	if k.duration {
		return time.Duration(v * float64(time.Millisecond)).String()
	}
	return number(v)
}

// knobValue is the flag of a number.
type knobValue struct {
	knob knobFlag
	edit *edit
}

func (v *knobValue) String() string { return "" }

// Type is what help calls a value.
func (v *knobValue) Type() string {
	if v.knob.duration {
		return "duration"
	}
	return "number"
}

func (v *knobValue) Set(text string) error {
	var n float64
	if v.knob.duration {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("want a duration, as " + v.knob.show(v.knob.Default))
		}
		n = float64(d) / float64(time.Millisecond)
	} else {
		var err error
		if n, err = strconv.ParseFloat(text, 64); err != nil {
			return fmt.Errorf("want a number from %s to %s", number(v.knob.Least), number(v.knob.Most))
		}
	}
	if !(n >= v.knob.Least && n <= v.knob.Most) {
		return fmt.Errorf("want %s to %s", v.knob.show(v.knob.Least), v.knob.show(v.knob.Most))
	}
	v.edit.changes = append(v.edit.changes, func(p *sampling.Policy) { *v.knob.In(p) = &n })
	return nil
}

// listValue is a flag that may be repeated.
type listValue struct {
	form string
	set  func(string) error
}

func (v *listValue) String() string        { return "" }
func (v *listValue) Type() string          { return v.form }
func (v *listValue) Set(text string) error { return v.set(text) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
