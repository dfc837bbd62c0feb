//! The Mersenne Twister of 32 bits (Matsumoto and Nishimura, 1998): the order in which Envoy tries hosts when the one
//! that a hash chose has its share already, and therefore ours.

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// MT19937.
#[derive(Debug)]
pub struct MersenneTwister {
    state: Box<[u32; SIZE]>,
    next: usize,
}

impl MersenneTwister {
    pub fn new(seed: u32) -> Self {
        let mut state = Box::new([0; SIZE]);
        state[0] = seed;
        for at in 1..SIZE {
            let before: u32 = state[at - 1];
            state[at] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(at as u32);
        }
        Self { state, next: SIZE }
    }

    pub fn draw(&mut self) -> u32 {
        if self.next == SIZE {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// Uniform in `[0, bound)`, by division and rejection; `bound` is above 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let divisor = (1_u64 << 32) / u64::from(bound.max(1));
        loop {
            let number = u64::from(self.draw()) / divisor;
            if number < u64::from(bound.max(1)) {
                return number as u32;
            }
        }
    }

    fn twist(&mut self) {
        for at in 0..SIZE {
            let word = (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % SIZE] & 0x7fff_ffff);
            let twisted = (word >> 1) ^ if word & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[at] = self.state[(at + SHIFT) % SIZE] ^ twisted;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C++ standard (`rand.predef`) says that the ten-thousandth number from the default seed is this one.
    #[test]
    fn the_ten_thousandth_number_is_the_standards() {
        let mut twister = MersenneTwister::new(5489);
        let last = (0..10_000).map(|_| twister.draw()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn numbers_below_a_bound_stay_below_it_and_reach_it() {
        let mut twister = MersenneTwister::new(1);
        let mut seen = [false; 7];
        (0..1_000).for_each(|_| seen[twister.below(7) as usize] = true);
        assert!(seen.iter().all(|seen| *seen));
        assert_eq!(twister.below(1), 0);
    }
}
