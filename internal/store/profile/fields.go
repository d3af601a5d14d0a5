package profile

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/guanlan-io/guanlan/internal/store"
)

// maxSampled bounds the blocks that are unpacked for the values of a label, the
// newest first: somebody is typing, and a service has the same labels all day.
const maxSampled = 64

// Fields lists the fields that profiles can be asked for: attributes of
// resources, labels of samples, and type; most frequent first. It unpacks
// nothing: profiles are counted by the blocks that reach into the range, and
// conditions on labels leave out only blocks without these.
func (s *Store) Fields(ctx context.Context, sel store.Select) ([]store.Count, error) {
	chosen, _, release, err := s.choose(sel, "")
	if err != nil {
		return nil, err
	}
	defer release()
	counts := map[string]uint64{}
	for _, src := range chosen {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		names := map[string]bool{typeField: true}
		for k := range src.series.resource {
			names[k] = true
		}
		for _, k := range src.labels {
			names[k] = true
		}
		for k := range names {
			counts[k] += uint64(src.count)
		}
	}
	return ranked(counts, len(counts)), nil
}

// Values lists the values of a field as conditions name it, by how many
// profiles have them, at most limit. Profiles are counted as in Fields, but for
// labels: these are read from the newest blocks.
func (s *Store) Values(ctx context.Context, sel store.Select, field string, limit int) ([]store.Count, error) {
	chosen, m, end, err := s.begin(ctx, sel, "")
	if err != nil {
		return nil, err
	}
	defer end()
	slices.SortStableFunc(chosen, func(a, b source) int { return cmp.Compare(b.last, a.last) })
	of := fieldOf(field)
	counts, sampled := map[string]uint64{}, 0
	for _, src := range chosen {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		outer, has := src.series.resource[of.key]
		switch {
		case of.kind:
			counts[src.series.kind] += uint64(src.count)
		case of.labels && src.has(of.key):
			if sampled++; sampled > maxSampled {
				continue
			}
			t, rows := s.rows(src, m, sel.Range)
			for value, n := range of.count(t, rows, src.series) {
				counts[value] += n
			}
		case of.outer && has:
			counts[outer] += uint64(src.count)
		}
	}
	return ranked(counts, limit), nil
}

// count says how many rows have which value of a label or, where samples lack
// it, of the resource.
func (c cond) count(t *table, rows []row, s *series) map[string]uint64 {
	values := make([][]string, 0)
	if t != nil {
		values = make([][]string, len(t.labels))
		for i, set := range t.labels {
			if values[i] = t.valuesOf(set, c.key); len(values[i]) == 0 && c.outer {
				if v, ok := s.resource[c.key]; ok {
					values[i] = []string{v}
				}
			}
		}
	}
	counts := map[string]uint64{}
	for _, r := range rows {
		seen := map[string]bool{}
		last := ^uint32(0)
		for _, set := range r.labels {
			if set == last {
				continue
			}
			last = set
			for _, v := range values[set] {
				seen[v] = true
			}
		}
		for v := range seen {
			counts[v]++
		}
	}
	return counts
}

// valuesOf are the values that a set of labels has for a key, as text.
func (t *table) valuesOf(set []label, key string) (values []string) {
	for _, l := range set {
		switch {
		case t.strings[l.key] != key:
		case l.number:
			values = append(values, strconv.FormatInt(l.value, 10))
		default:
			values = append(values, t.strings[l.text])
		}
	}
	return values
}

// ranked orders by count, then by value.
func ranked(counts map[string]uint64, limit int) []store.Count {
	out := make([]store.Count, 0, len(counts))
	for v, n := range counts {
		out = append(out, store.Count{Value: v, Count: n})
	}
	slices.SortFunc(out, func(a, b store.Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Value, b.Value))
	})
	return out[:min(len(out), limit)]
}
