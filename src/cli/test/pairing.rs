//! Which expectation stands for which delivery: as many as possible are matched, each delivery by one.

/// Matches deliveries to expectations. `fits[delivery]` lists the expectations that it fits, `room[expectation]` says for how
/// many deliveries each stands. Returns each delivery's expectation; no other choice would match more.
pub(super) fn pair(fits: &[Vec<usize>], room: &[usize]) -> Vec<Option<usize>> {
    let mut pairing = Pairing { fits, room, taken: vec![Vec::new(); room.len()] };
    for delivery in 0..fits.len() {
        pairing.place(delivery, &mut vec![false; room.len()]);
    }
    let mut paired = vec![None; fits.len()];
    for (expectation, deliveries) in pairing.taken.iter().enumerate() {
        for delivery in deliveries {
            paired[*delivery] = Some(expectation);
        }
    }
    paired
}

struct Pairing<'a> {
    fits: &'a [Vec<usize>],
    room: &'a [usize],
    taken: Vec<Vec<usize>>,
}

impl Pairing<'_> {
    /// Finds a place for a delivery, moving others to another one where that makes room.
    fn place(&mut self, delivery: usize, tried: &mut Vec<bool>) -> bool {
        let has_room = |place: &usize| !tried[*place] && self.taken[*place].len() < self.room[*place];
        if let Some(place) = self.fits[delivery].iter().copied().find(has_room) {
            tried[place] = true;
            self.taken[place].push(delivery);
            return true;
        }
        for expectation in self.fits[delivery].iter().copied() {
            if std::mem::replace(&mut tried[expectation], true) {
                continue;
            }
            for position in 0..self.taken[expectation].len() {
                let other = self.taken[expectation][position];
                if self.place(other, tried) {
                    self.taken[expectation][position] = delivery;
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn a_delivery_makes_room_for_one_that_has_no_other_place() {
        assert_eq!(pair(&[vec![0, 1], vec![0]], &[1, 1]), [Some(1), Some(0)]);
        assert_eq!(pair(&[vec![0], vec![0], vec![0]], &[2]), [Some(0), Some(0), None]);
        assert_eq!(pair(&[vec![], vec![1]], &[1, 1]), [None, Some(1)]);
    }

    #[test]
    fn a_chain_of_moves_is_found() {
        let fits = [vec![0, 1], vec![1, 2], vec![2, 3], vec![0], vec![1]];
        let paired = pair(&fits, &[1, 1, 1, 1]);
        assert_eq!(paired.iter().flatten().count(), 4, "{paired:?}");
    }
}
