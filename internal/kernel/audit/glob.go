package audit

// glob reports whether all of s fits the pattern, in which * stands for any
// bytes but / and ** for any bytes. Nothing else is special.
func glob(pattern, s string) bool {
	// Where to go on if what follows the last star does not fit: the star
	// takes one byte more. A ** may take back what a later * has got wrong.
	type try struct{ p, s int }
	one, all := try{-1, 0}, try{-1, 0}
	p, i := 0, 0
	for {
		switch {
		case p+1 < len(pattern) && pattern[p] == '*' && pattern[p+1] == '*':
			p += 2
			all, one = try{p, i}, try{-1, 0}
			continue
		case p < len(pattern) && pattern[p] == '*':
			p++
			one = try{p, i}
			continue
		case p < len(pattern) && i < len(s) && pattern[p] == s[i]:
			p, i = p+1, i+1
			continue
		case p == len(pattern) && i == len(s):
			return true
		}
		switch {
		case one.p >= 0 && one.s < len(s) && s[one.s] != '/':
			one.s++
			p, i = one.p, one.s
		case all.p >= 0 && all.s < len(s):
			all.s++
			p, i = all.p, all.s
			one = try{-1, 0}
		default:
			return false
		}
	}
}
