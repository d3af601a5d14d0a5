//go:build guanlan_woven

package baggage

import (
	"context"

	ours "guanlan/otel/baggage"
)

// Baggage is kept in contexts where the woven SDK looks for it. It is taken apart,
// not written as text: that has no names beyond those of W3C.

func guanlanWith(ctx context.Context, b Baggage) context.Context {
	members := make([]ours.Member, 0, b.Len())
	for _, m := range b.Members() {
		var props []ours.Property
		for _, p := range m.Properties() {
			if same, err := guanlanProperty(p, ours.NewKeyProperty, ours.NewKeyValuePropertyRaw); err == nil {
				props = append(props, same)
			}
		}
		if same, err := ours.NewMemberRaw(m.Key(), m.Value(), props...); err == nil {
			members = append(members, same)
		}
	}
	same, _ := ours.New(members...)
	return ours.ContextWithBaggage(ctx, same)
}

func guanlanFrom(ctx context.Context) Baggage {
	b := ours.FromContext(ctx)
	if b.Len() == 0 {
		return Baggage{}
	}
	members := make([]Member, 0, b.Len())
	for _, m := range b.Members() {
		var props []Property
		for _, p := range m.Properties() {
			if same, err := guanlanProperty(p, NewKeyProperty, NewKeyValuePropertyRaw); err == nil {
				props = append(props, same)
			}
		}
		if same, err := NewMemberRaw(m.Key(), m.Value(), props...); err == nil {
			members = append(members, same)
		}
	}
	same, _ := New(members...)
	return same
}

// guanlanProperty makes the same property of the other API.
func guanlanProperty[To any](p interface {
	Key() string
	Value() (string, bool)
}, key func(string) (To, error), keyValue func(key, value string) (To, error)) (To, error) {
	if v, ok := p.Value(); ok {
		return keyValue(p.Key(), v)
	}
	return key(p.Key())
}
