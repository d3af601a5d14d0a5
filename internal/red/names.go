package red

import "strings"

// names gives strings numbers, so that what refers to them is small and holds
// no pointer. A name lives as long as it is held; 0 is the empty string and
// always there.
type names struct {
	ids  map[string]int32
	list []heldName
	free []int32
}

type heldName struct {
	text string
	held int
}

func newNames() names { return names{ids: map[string]int32{}, list: make([]heldName, 1)} }

// acquire holds s and returns its number. s is copied if it is new.
func (n *names) acquire(s string) int32 {
	if s == "" {
		return 0
	}
	if id, ok := n.ids[s]; ok {
		n.list[id].held++
		return id
	}
	s = strings.Clone(s)
	var id int32
	if k := len(n.free); k > 0 {
		id, n.free = n.free[k-1], n.free[:k-1]
		n.list[id] = heldName{s, 1}
	} else {
		id = int32(len(n.list))
		n.list = append(n.list, heldName{s, 1})
	}
	n.ids[s] = id
	return id
}

// hold holds a name that is held already.
func (n *names) hold(id int32) { n.list[id].held++ }

// release undoes one acquire or hold.
func (n *names) release(id int32) {
	if id == 0 {
		return
	}
	h := &n.list[id]
	h.held--
	if h.held == 0 {
		delete(n.ids, h.text)
		*h = heldName{}
		n.free = append(n.free, id)
	}
}

func (n *names) text(id int32) string { return n.list[id].text }
