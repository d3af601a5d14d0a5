package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guanlan-io/guanlan/internal/api"
	"github.com/guanlan-io/guanlan/internal/pprofile"
	"github.com/guanlan-io/guanlan/internal/query"
)

func newQueryProfiles(a *asking) *cobra.Command {
	var kind, file string
	cmd := &cobra.Command{
		Use:   "profiles [FILTER...]",
		Short: "List profiles, or what takes most in those of a type",
		Long: `List what has profiles, by service and type. With --type, add up those of a type (heap
and goroutine: average them) and print the functions that take most; with --pprof, write the sum for go tool pprof.`,
		Example: `  guanlan query profiles
  guanlan query profiles --type cpu service.name = order
  guanlan query profiles --type heap --pprof heap.pb.gz service.name = order --since 10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w := a.window(args)
			params := url.Values{"from": w["start"], "to": w["end"], "filter": w["filter"]}
			if kind == "" && file != "" {
				kind = "cpu"
			}
			if kind != "" {
				params.Set("type", kind)
			}
			switch {
			case file != "":
				return a.writeProfile(cmd, params, file)
			case kind != "":
				return a.topFunctions(cmd, params)
			}
			return a.listProfiles(cmd, params)
		},
	}
	a.list(cmd)
	cmd.Flags().StringVar(&kind, "type", "", "type of profile: cpu, off_cpu, heap, allocs, goroutine, mutex, block or another of the list")
	cmd.Flags().StringVar(&file, "pprof", "", "write the sum to this file in the format of pprof (type cpu unless --type says otherwise)")
	return cmd
}

func (a *asking) listProfiles(cmd *cobra.Command, params url.Values) error {
	var answer json.RawMessage
	if err := a.get(cmd.Context(), api.ProfilesPath, params, &answer); err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	var list query.ProfileList
	if err := json.Unmarshal(answer, &list); err != nil {
		return fmt.Errorf("decode the profiles: %w", err)
	}
	w := table(cmd.OutOrStdout(), "SERVICE", "TYPE", "PROFILES", "TOTAL", "FIRST", "LAST", "VERSIONS")
	for _, s := range list.Series[:min(len(list.Series), a.limit)] {
		row(w, s.Service, s.Type, s.Profiles, quantity(s.Total, s.Unit), clock(s.First), clock(s.Last), strings.Join(s.Versions, " "))
	}
	return w.Flush()
}

func (a *asking) writeProfile(cmd *cobra.Command, params url.Values, file string) error {
	body, err := a.open(cmd.Context(), api.ProfilesPath+"/merge", params)
	if err != nil {
		return err
	}
	defer body.Close()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, body)
	if err = cmp.Or(err, out.Close()); err != nil {
		_ = os.Remove(file) // half a profile is none
		return fmt.Errorf("write %s: %w", file, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "wrote %s; look at it with: go tool pprof %s\n", printable(file), printable(file))
	return nil
}

func (a *asking) topFunctions(cmd *cobra.Command, params url.Values) error {
	var answer json.RawMessage
	if err := a.get(cmd.Context(), api.ProfilesPath+"/flame", params, &answer); err != nil {
		return err
	}
	if a.output == "json" {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	var f query.Flame
	if err := json.Unmarshal(answer, &f); err != nil {
		return fmt.Errorf("decode the profiles: %w", err)
	}
	all, total := top(&f), f.Total
	if n := int64(f.Profiles); n > 1 && query.Momentary(params.Get("type")) {
		total /= n
		for i := range all {
			all[i].flat, all[i].cum = all[i].flat/n, all[i].cum/n
		}
	}
	w := table(cmd.OutOrStdout(), "FLAT", "FLAT%", "CUM", "CUM%", "FUNCTION")
	for _, t := range all[:min(len(all), a.limit)] {
		row(w, quantity(t.flat, f.Unit), share(t.flat, total), quantity(t.cum, f.Unit), share(t.cum, total), t.name)
	}
	return w.Flush()
}

// function is what a function takes itself, and with what it calls.
type function struct {
	name      string
	flat, cum int64
}

// top adds a tree up by function, most first. Where a function calls itself, only
// the outermost call counts for cum.
func top(f *query.Flame) []function {
	sums := map[string]*function{}
	n := f.Nodes
	for i := range n.Name {
		name := f.Names[n.Name[i]]
		t := sums[name]
		if t == nil {
			t = &function{name: name}
			sums[name] = t
		}
		t.flat = pprofile.Plus(t.flat, n.Self[i])
		up := n.Parent[i]
		for up >= 0 && f.Names[n.Name[up]] != name {
			up = n.Parent[up]
		}
		if up < 0 {
			t.cum = pprofile.Plus(t.cum, n.Value[i])
		}
	}
	all := make([]function, 0, len(sums))
	for _, t := range sums {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b function) int {
		return cmp.Or(cmp.Compare(b.flat, a.flat), cmp.Compare(b.cum, a.cum), strings.Compare(a.name, b.name))
	})
	return all
}

func share(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return strconv.FormatFloat(100*float64(part)/float64(whole), 'f', 2, 64) + "%"
}

// quantity prints a value of a profile in its unit.
func quantity(n int64, unit string) string {
	switch unit {
	case "nanoseconds":
		return duration(n)
	case "bytes":
		v, prefix := float64(n), ""
		for _, p := range []string{"Ki", "Mi", "Gi", "Ti"} {
			if v < 1024 && v > -1024 {
				break
			}
			v, prefix = v/1024, p
		}
		return strconv.FormatFloat(v, 'g', 4, 64) + prefix + "B"
	case "count", "":
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + " " + unit
}
