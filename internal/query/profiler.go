package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/guanlan-io/guanlan/internal/pprofile"
	"github.com/guanlan-io/guanlan/internal/semconv"
	"github.com/guanlan-io/guanlan/internal/store"
	"github.com/guanlan-io/guanlan/internal/store/profile"
)

// maxSeriesValues bounds the versions and the instances that one row of a list
// names.
const maxSeriesValues = 50

// ProfileStore keeps profiles; profile.Store does.
type ProfileStore interface {
	Series(ctx context.Context, sel store.Select) ([]profile.Series, error)
	Merge(ctx context.Context, sel store.Select, kind string, labels bool, use func(*profile.Merged) error) error
	Fields(ctx context.Context, sel store.Select) ([]store.Count, error)
	Values(ctx context.Context, sel store.Select, field string, limit int) ([]store.Count, error)
	Write(ctx context.Context, tenant store.Tenant, profiles []profile.New) (id string, err error)
}

// NewProfiler returns the answers over a store.
func NewProfiler(s ProfileStore) Profiler { return &profiler{store: s} }

type profiler struct{ store ProfileStore }

func (p *profiler) Profiles(ctx context.Context, w Window) (*ProfileList, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	sel, err := selectOf(ctx, w, Profiles)
	if err != nil {
		return nil, err
	}
	found, err := p.store.Series(ctx, sel)
	if err != nil {
		return nil, err
	}
	return listSeries(found), nil
}

// listSeries brings the series of resources together by service and type.
func listSeries(found []profile.Series) *ProfileList {
	type group struct {
		ProfileSeries
		versions, instances map[string]bool
	}
	groups := map[[2]string]*group{}
	for _, s := range found {
		id := [2]string{s.Resource[semconv.ServiceName], s.Kind}
		g := groups[id]
		if g == nil {
			g = &group{ProfileSeries{Service: id[0], Type: id[1], Unit: s.Unit, First: s.First, Last: s.Last}, map[string]bool{}, map[string]bool{}}
			groups[id] = g
		}
		g.Profiles += s.Profiles
		if s.Unit == g.Unit { // else they cannot be added up
			g.Total = pprofile.Plus(g.Total, s.Total)
		}
		if s.First.Before(g.First) {
			g.First = s.First
		}
		if s.Last.After(g.Last) {
			g.Last = s.Last
		}
		note(g.versions, s.Resource, semconv.ServiceVersion)
		note(g.instances, s.Resource, semconv.ServiceInstanceID, semconv.K8sPodName, semconv.ContainerID, semconv.HostName)
	}
	list := &ProfileList{Series: make([]ProfileSeries, 0, len(groups))}
	for _, g := range groups {
		g.Versions, g.Instances = first(g.versions), first(g.instances)
		list.Series = append(list.Series, g.ProfileSeries)
	}
	slices.SortFunc(list.Series, func(a, b ProfileSeries) int {
		return strings.Compare(a.Service+"\x00"+a.Type, b.Service+"\x00"+b.Type)
	})
	return list
}

// note adds the first of the keys that a resource has.
func note(set map[string]bool, resource map[string]string, keys ...string) {
	for _, k := range keys {
		if v := resource[k]; v != "" {
			set[v] = true
			return
		}
	}
}

func first(set map[string]bool) []string {
	all := slices.Sorted(maps.Keys(set))
	return append([]string{}, all[:min(len(all), maxSeriesValues)]...)
}

// Momentary tells whether a profile of this type is the state of one moment:
// several are averaged, because their sum says nothing.
func Momentary(kind string) bool {
	return kind == pprofile.Heap || kind == pprofile.Goroutine || kind == "threadcreate"
}

func (p *profiler) Merge(ctx context.Context, w Window, kind string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	sel, err := selectOf(ctx, w, Profiles)
	if err != nil {
		return err
	}
	return p.store.Merge(ctx, sel, kind, true, func(m *profile.Merged) error {
		if n := m.Profiles; n > 1 && Momentary(kind) {
			m.Profile.Scale(1 / float64(n))
			m.Profile.Comments = append(m.Profile.Comments, fmt.Sprintf("average of %d profiles", n))
		}
		if m.Main >= 0 { // what pprof shows first
			m.Profile.DefaultSampleType = m.Profile.SampleType[m.Main].Type
		}
		if err := m.Profile.Write(out); err != nil {
			return fmt.Errorf("write the profile: %w", err)
		}
		return nil
	})
}

func (p *profiler) Flame(ctx context.Context, w Window, kind string, base *Window) (*Flame, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	f := newFlame(base != nil)
	for side, w := range []*Window{&w, base} {
		if w == nil {
			continue
		}
		sel, err := selectOf(ctx, *w, Profiles)
		if err != nil {
			return nil, baseError(err, side)
		}
		err = p.store.Merge(ctx, sel, kind, false, func(m *profile.Merged) error {
			f.add(m.Profile, m.Main, side)
			if side == 0 {
				f.out.Profiles = m.Profiles
			} else {
				f.out.BaseProfiles = m.Profiles
			}
			return nil
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) { // an empty side
			return nil, err
		}
	}
	return f.finish(MaxFlameNodes), nil
}

func (p *profiler) Fields(ctx context.Context, w Window) (*FieldList, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	sel, err := selectOf(ctx, w, Profiles)
	if err != nil {
		return nil, err
	}
	counts, err := p.store.Fields(ctx, sel)
	if err != nil {
		return nil, err
	}
	return &FieldList{Fields: tallies(counts, true)}, nil
}

func (p *profiler) Values(ctx context.Context, w Window, field, prefix string, limit int) (*ValueList, error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	sel, limit, err := selectValues(ctx, w, Profiles, field, prefix, limit)
	if err != nil {
		return nil, err
	}
	counts, err := p.store.Values(ctx, sel, field, limit)
	if err != nil {
		return nil, err
	}
	return &ValueList{Values: tallies(counts, true)}, nil
}

// baseError names the parameters of the base as the API does.
func baseError(err error, side int) error {
	var field *FieldError
	if side == 1 && errors.As(err, &field) {
		named := *field
		named.Field = "base_" + field.Field
		return &named
	}
	return err
}

func (p *profiler) Add(ctx context.Context, pprof []byte, kind string, resource map[string]string) (*ProfileAdded, error) {
	read, err := pprofile.Read(pprof)
	if errors.Is(err, pprofile.ErrInvalid) {
		return nil, fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	if err != nil {
		return nil, err
	}
	if kind == "" {
		kind = pprofile.Kind(read)
	}
	id, err := p.store.Write(ctx, TenantOf(ctx), []profile.New{{Resource: resource, Kind: kind, Pprof: read}})
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, fmt.Errorf("the profile of %s is older than profiles are kept; nothing is stored: %w", time.Unix(0, read.TimeNanos).UTC().Format(time.RFC3339), store.ErrInvalid)
	}
	return &ProfileAdded{ID: id, Type: kind}, nil
}
