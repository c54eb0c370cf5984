package simulation

import "fmt"

// plan decides every step of a run. It is a function of the seed. If keep is set, only those steps
// deviate from the default, in which the oldest request is next and succeeds.
type plan struct {
	seed uint64
	keep map[int]bool // nil: all
}

// at returns the dice of a step; those of a step that is not kept are blank.
func (p plan) at(step int) *dice {
	if p.keep != nil && !p.keep[step] {
		return &dice{blank: true}
	}
	return newDice(p.seed, "step", step)
}

// dice are a stream of random numbers that depends on nothing but the arguments of newDice. Blank
// dice always show zero.
type dice struct {
	state uint64
	blank bool
}

func newDice(seed uint64, purpose string, n int) *dice {
	d := &dice{state: seed}
	for _, b := range []byte(fmt.Sprintf("%s/%d", purpose, n)) {
		d.state = mix(d.state ^ uint64(b))
	}
	return d
}

// mix is splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// n returns a number in [0, k).
func (d *dice) n(k int) int {
	if d.blank || k <= 1 {
		return 0
	}
	d.state = mix(d.state)
	return int(d.state % uint64(k))
}

// permille returns true that many times in a thousand; blank dice return false.
func (d *dice) permille(p int) bool { return !d.blank && d.n(1000) < p }

// pick returns one of the choices.
func pick[T any](d *dice, choices ...T) T { return choices[d.n(len(choices))] }
