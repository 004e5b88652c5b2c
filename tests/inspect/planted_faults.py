"""The linter's planted faults: models with one mistake each, as their authors wrote them.

At least two of each of the twelve names, by name of the mistake. What each does wrong is shown in
`test_lint_consequences.py` by plain torch, whatever the linter says.
"""

import planted_in_batches as batches
import planted_in_gradients as gradients
import planted_in_states as states
import planted_over_time as over_time

PLANTED = {
    make.__name__: make
    for make in (
        batches.lstm_tagger_without_batch_first,
        batches.symbols_without_batch_first,
        batches.time_first_into_batch_first,
        batches.time_first_into_our_layer,
        batches.loop_over_samples,
        batches.rows_into_rnn,
        batches.series_as_features,
        batches.gru_stepped_with_rows,
        batches.standardised_over_the_batch,
        batches.batch_norm_without_running_figures,
        batches.attention_over_the_batch,
        batches.softmax_over_samples,
        batches.reshaped_instead_of_transposed,
        states.hidden_kept_in_an_attribute,
        states.our_state_kept_in_an_attribute,
        states.hidden_kept_in_a_buffer,
        states.state_zeroed_when_built,
        states.hidden_reused_by_the_training_step,
        states.windows_without_detach,
        states.windows_with_retained_graph,
        states.windows_with_detach_dropped,
        states.windows_with_a_growing_graph,
        states.hidden_kept_with_its_graph,
        over_time.padding_read_backwards,
        over_time.mean_over_the_padding,
        over_time.sum_divided_by_lengths,
        over_time.attention_without_a_mask,
        over_time.standardised_with_the_padding,
        over_time.lengths_sorted_without_samples,
        over_time.last_column_of_symbols,
        over_time.hidden_after_the_padding,
        over_time.last_column_of_unpacked,
        over_time.last_column_of_our_stack,
        over_time.bidirectional_lstm_on_a_stream,
        over_time.our_bidirectional_on_a_stream,
        over_time.centred_convolution,
        over_time.scaled_by_the_window,
        over_time.transformer_without_a_mask,
        over_time.functional_dropout,
        over_time.dropout_made_in_forward,
        over_time.noise_on_the_states,
        over_time.random_initial_state,
        gradients.rectified_without_clipping,
        gradients.chaotic_without_clipping,
        gradients.linear_by_hand_without_clipping,
        gradients.clipped_after_the_step,
        gradients.clipped_before_backward,
        gradients.clipped_in_the_head_only,
        gradients.default_lstm_for_a_hundred_steps,
        gradients.default_gru_over_its_batch,
        gradients.our_lstm_with_zero_bias,
        gradients.our_gru_with_default_bias,
        gradients.bias_of_another_gate,
        gradients.shut_in_the_upper_layer,
        gradients.default_rnn_for_a_hundred_steps,
        gradients.our_rnn_with_tiny_weights,
        gradients.chaotic_and_clipped,
        gradients.chaotic_lower_layer,
    )
}
"""Each builds a `Planted`; numbers are drawn from the seed that is set before."""
